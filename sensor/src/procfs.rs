//! What `/proc` says about a process. Used once per process at start, and for one that a record
//! names but the table does not know.

use wire::limits::STRING_MAX;
use wire::record::process_flag;

use crate::privileged::{self, ProcFile, ProcLink};

/// Nanoseconds per tick of `/proc/PID/stat`; `USER_HZ` is 100 on every architecture that we build
/// for.
const TICK_NS: u64 = 10_000_000;

/// One process as `/proc` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Process id.
    pub pid: u32,
    /// Its parent's.
    pub parent_pid: u32,
    /// Start, nanoseconds since boot.
    pub start_ns: u64,
    /// Task name.
    pub comm: Vec<u8>,
    /// Path of the executable, empty for kernel threads.
    pub exe: Vec<u8>,
    /// Arguments, each ended by NUL.
    pub args: Vec<u8>,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Real group id.
    pub gid: u32,
    /// cgroup v2 path.
    pub cgroup: Vec<u8>,
    /// Bits of `process_flag`.
    pub flags: u32,
}

/// Returns every process that can be read.
pub fn all() -> Vec<Seen> {
    privileged::processes().unwrap_or_default().into_iter().filter_map(one).collect()
}

/// Returns one process, `None` when it is gone or cannot be read.
pub fn one(pid: u32) -> Option<Seen> {
    let read = |file| privileged::read(pid, file).ok();
    let mut seen = parse(&read(ProcFile::Stat)?, &read(ProcFile::Status)?)?;
    match privileged::link(pid, ProcLink::Exe) {
        Ok(exe) => set_exe(&mut seen, &exe),
        // A kernel thread has no image; of another task it means that it may not be read.
        Err(_) => seen.flags |= process_flag::EXE_UNKNOWN,
    }
    match read(ProcFile::Cmdline) {
        Some(args) => {
            seen.args = args;
            if seen.args.len() > STRING_MAX {
                seen.args.truncate(STRING_MAX);
                seen.flags |= process_flag::ARGS_TRUNCATED;
            }
        }
        None => seen.flags |= process_flag::ARGS_UNKNOWN,
    }
    let cgroup = read(ProcFile::Cgroup).unwrap_or_default();
    seen.cgroup = crate::cgroup::unified_path(&cgroup).unwrap_or_default().to_vec();
    Some(seen)
}

/// Reads the texts of a process's `stat` and `status`.
pub fn parse(stat: &[u8], status: &[u8]) -> Option<Seen> {
    let mut seen = parse_stat(stat)?;
    seen.flags = process_flag::SEEDED;
    parse_status(status, &mut seen);
    Some(seen)
}

/// The kernel appends ` (deleted)` to the name of an image that no directory names any more.
fn set_exe(seen: &mut Seen, link: &[u8]) {
    let name = match link.strip_suffix(b" (deleted)") {
        Some(name) => {
            seen.flags |= process_flag::UNLINKED;
            name
        }
        None => link,
    };
    if name.starts_with(b"/memfd:") {
        seen.flags |= process_flag::MEMFD;
    }
    seen.exe = name.to_vec();
}

/// Parses `pid (comm) state ppid … starttime …`; the name may hold spaces and brackets.
fn parse_stat(stat: &[u8]) -> Option<Seen> {
    let open = stat.iter().position(|&b| b == b'(')?;
    let close = stat.iter().rposition(|&b| b == b')')?;
    let comm = stat.get(open + 1..close)?.to_vec();
    let mut rest = str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
    let pid = str::from_utf8(&stat[..open]).ok()?.trim().parse().ok()?;
    let parent_pid = rest.nth(1)?.parse().ok()?;
    let start_ticks: u64 = rest.nth(17)?.parse().ok()?;
    let start_ns = start_ticks.checked_mul(TICK_NS)?;
    Some(Seen { pid, parent_pid, start_ns, comm, ..Seen::default() })
}

fn parse_status(status: &[u8], seen: &mut Seen) {
    for line in String::from_utf8_lossy(status).lines() {
        let mut words = line.split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match name {
            "Uid:" => (seen.uid, seen.euid) = (number(), number()),
            "Gid:" => seen.gid = number(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = b"42 (a) R 9) S 7 1 1 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 12345 0 0";
        let seen = parse_stat(stat).unwrap();
        assert_eq!((seen.pid, seen.parent_pid, seen.start_ns), (42, 7, 123_450_000_000));
        assert_eq!(seen.comm, b"a) R 9");
        assert_eq!(parse_stat(b"42 (half"), None);
    }

    #[test]
    fn deleted_and_anonymous_images_are_flagged() {
        let mut seen = Seen::default();
        set_exe(&mut seen, b"/memfd:payload (deleted)");
        assert_eq!(seen.exe, b"/memfd:payload");
        assert_eq!(seen.flags, process_flag::MEMFD | process_flag::UNLINKED);
    }

    #[test]
    fn this_process_is_found() {
        let seen = one(std::process::id()).unwrap();
        assert_eq!(seen.exe, std::env::current_exe().unwrap().as_os_str().as_bytes());
        assert!(seen.args.starts_with(std::env::args().next().unwrap().as_bytes()));
        assert!(seen.start_ns <= crate::clock::boot_ns());
        assert!(all().iter().any(|p| p.pid == seen.pid));
    }
}
