//! Capabilities of this thread, by the kernel's own calls.

use std::io;

/// Reads any file and folder: logs, executables that only their owner may read.
pub const DAC_READ_SEARCH: u32 = 2;
/// Ends a worker of another user.
pub const KILL: u32 = 5;
/// With [`SETUID`], makes the worker another user.
pub const SETGID: u32 = 6;
/// With [`SETGID`], makes the worker another user.
pub const SETUID: u32 = 7;
/// Empties the worker's bounding set.
pub const SETPCAP: u32 = 8;
/// Attaches packet programs.
pub const NET_ADMIN: u32 = 12;
/// Reads links of other users' processes.
pub const SYS_PTRACE: u32 = 19;
/// Enters network namespaces.
pub const SYS_ADMIN: u32 = 21;
/// Attaches tracing programs.
pub const PERFMON: u32 = 38;
/// Makes maps and loads programs.
pub const BPF: u32 = 39;

/// `_LINUX_CAPABILITY_VERSION_3`.
const VERSION: u32 = 0x2008_0522;
/// Highest capability that the kernel's masks have room for.
const NUMBERS: u32 = 64;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Returns the capabilities in effect, one bit each.
pub fn effective() -> io::Result<u64> {
    let data = get()?;
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}

/// Keeps what is named, as far as it is there, and gives up everything else.
pub fn keep_only(capabilities: &[u32]) -> io::Result<()> {
    let now = get()?;
    let wanted = capabilities.iter().fold(0_u64, |mask, number| mask | 1 << number);
    let half = |at: usize| {
        let kept = now[at].permitted & (wanted >> (32 * at)) as u32;
        Data { effective: kept, permitted: kept, inheritable: 0 }
    };
    set([half(0), half(1)])
}

/// Gives up every capability.
pub fn drop_all() -> io::Result<()> {
    set([Data::default(); 2])?;
    match effective()? {
        0 => Ok(()),
        _ => Err(io::Error::other("capabilities are left")),
    }
}

/// Empties the bounding set; returns whether that was allowed.
pub fn empty_bounding_set() -> io::Result<bool> {
    if effective()? & 1 << SETPCAP == 0 {
        return Ok(false);
    }
    for number in 0..NUMBERS {
        // SAFETY: the call takes numbers only.
        let answer = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
        if answer != 0 {
            let error = io::Error::last_os_error();
            // The kernel has fewer capabilities than its masks have room for.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(true) } else { Err(error) };
        }
    }
    Ok(true)
}

fn get() -> io::Result<[Data; 2]> {
    let header = Header { version: VERSION, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: header and data are what this version of the call takes, and live through it.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    if answer == 0 { Ok(data) } else { Err(io::Error::last_os_error()) }
}

fn set(data: [Data; 2]) -> io::Result<()> {
    let header = Header { version: VERSION, pid: 0 };
    // SAFETY: as above.
    let answer = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_of_a_thread_are_given_up() {
        // Another thread, since they do not come back.
        std::thread::spawn(|| {
            let before = effective().unwrap();
            keep_only(&[BPF, PERFMON]).unwrap();
            assert_eq!(effective().unwrap(), before & (1 << BPF | 1 << PERFMON));
            drop_all().unwrap();
            assert_eq!(effective().unwrap(), 0);
        })
        .join()
        .unwrap();
    }
}
