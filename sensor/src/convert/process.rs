//! Executions and ends of processes.

use sensor_abi::record as abi;
use sensor_abi::record::exec_flag;
use wire::record::{Address, Exec, Exit, ProcessRef, Stdio, process_flag, stdio_kind};

use super::until_nul;
use crate::clock::ClockPair;
use crate::drain::ExecView;
use crate::hash::FileId;
use crate::observation::Text;
use crate::process::{Key, Process};

/// Bits of `inode.i_mode` that say what kind of file it is, and their values (inode(7)).
const MODE_KIND: u16 = 0o170_000;
const MODE_FIFO: u16 = 0o010_000;
const MODE_CHARACTER: u16 = 0o020_000;
const MODE_BLOCK: u16 = 0o060_000;
const MODE_REGULAR: u16 = 0o100_000;
const MODE_SOCKET: u16 = 0o140_000;
/// Address families of socket(7).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// A program that was executed.
#[derive(Clone, Debug)]
pub struct Executed {
    /// The process. It lacks what the kernel does not say: user name, cgroup, hash.
    pub process: Process,
    /// The event.
    pub exec: Exec,
    /// Which content of which file was executed.
    pub file: FileId,
}

/// Converts an execution.
pub fn exec(view: &ExecView<'_>, clock: ClockPair) -> Executed {
    let fixed = &view.fixed;
    let parent = Key::new(fixed.parent_tgid, fixed.parent_start_ns);
    let namespace_pid = if fixed.inner_pid == fixed.header.tgid { 0 } else { fixed.inner_pid };
    let process = Process {
        key: Key::new(fixed.header.tgid, fixed.header.start_ns),
        parent: (fixed.parent_tgid != 0).then_some(parent),
        exe: view.path.as_slice().into(),
        comm: until_nul(&fixed.comm).into(),
        args: view.args.into(),
        uid: fixed.header.uid,
        euid: fixed.euid,
        gid: fixed.gid,
        cwd: view.cwd.as_slice().into(),
        script: script(view),
        env: view.env.into(),
        tty: tty(until_nul(&fixed.tty)),
        // Unset is all ones, which becomes 0.
        login_uid: fixed.loginuid.wrapping_add(1),
        session: fixed.session.wrapping_add(1),
        capabilities: fixed.capabilities,
        exe_inode: fixed.exe_inode,
        exe_dev: fixed.exe_dev,
        namespace_pid,
        namespaces: [fixed.pid_ns, fixed.mnt_ns, fixed.net_ns, fixed.user_ns],
        flags: process_flags(fixed.flags, &view.path),
        ..Process::default()
    };
    let exec = Exec {
        time_ns: clock.unix(fixed.header.time_ns),
        process: ProcessRef::default(),
        stdio: fixed.stdio.map(|end| stdio(&end)),
    };
    Executed { process, exec, file: file(fixed) }
}

/// Converts the end of a process.
pub fn exit(record: &abi::Exit, clock: ClockPair) -> Exit {
    let header = &record.header;
    // Without a start, which only a kernel without the field leaves out, there is no duration.
    let started = header.start_ns > 0;
    let lived_ns = header.time_ns.saturating_sub(header.start_ns);
    Exit {
        time_ns: clock.unix(header.time_ns),
        process: ProcessRef::default(),
        code: record.code,
        duration_ns: if started { lived_ns } else { 0 },
    }
}

fn file(fixed: &abi::Exec) -> FileId {
    FileId {
        dev: fixed.exe_dev,
        inode: fixed.exe_inode,
        size: fixed.exe_size,
        mtime_ns: fixed.exe_mtime_ns,
        ctime_ns: fixed.exe_ctime_ns,
    }
}

/// Returns the script's path. The kernel has it as it was passed by whoever executed it, which may
/// be relative to the directory that the process is still in.
fn script(view: &ExecView<'_>) -> Text {
    let known = view.fixed.flags & exec_flag::CWD_TRUNCATED == 0;
    if view.script.is_empty() || view.script[0] == b'/' || !known {
        return view.script.into();
    }
    let name = view.script.strip_prefix(b"./").unwrap_or(view.script);
    let directory = view.cwd.strip_suffix(b"/").unwrap_or(&view.cwd);
    [directory, b"/", name].concat().into()
}

/// Returns a terminal's name below `/dev`. The kernel's own name of a pseudo terminal has no slash.
fn tty(name: &[u8]) -> Text {
    match name.strip_prefix(b"pts") {
        Some(number) if number.first().is_some_and(u8::is_ascii_digit) => {
            [b"pts/", number].concat().into()
        }
        _ => name.into(),
    }
}

fn stdio(end: &abi::Stdio) -> Stdio {
    let kind = match (end.mode & MODE_KIND, end.family) {
        (0, _) => stdio_kind::NONE,
        (MODE_REGULAR | MODE_BLOCK, _) => stdio_kind::FILE,
        (MODE_FIFO, _) => stdio_kind::PIPE,
        (MODE_CHARACTER, _) => stdio_kind::DEVICE,
        (MODE_SOCKET, AF_UNIX) => stdio_kind::UNIX_SOCKET,
        (MODE_SOCKET, AF_INET | AF_INET6) => stdio_kind::INET_SOCKET,
        _ => stdio_kind::OTHER,
    };
    Stdio {
        kind,
        remote: Address(end.remote_addr),
        remote_port: end.remote_port,
        local_port: end.local_port,
    }
}

fn process_flags(flags: u32, path: &[u8]) -> u32 {
    let named = [
        (exec_flag::MEMFD, process_flag::MEMFD),
        (exec_flag::UNLINKED, process_flag::UNLINKED),
        (exec_flag::ARGS_TRUNCATED, process_flag::ARGS_TRUNCATED),
        (exec_flag::ARGS_UNREADABLE, process_flag::ARGS_UNKNOWN),
        (exec_flag::PATH_TRUNCATED, process_flag::EXE_UNKNOWN),
        (exec_flag::CWD_TRUNCATED, process_flag::CWD_UNKNOWN),
        (exec_flag::ENV_TRUNCATED | exec_flag::ENV_UNREADABLE, process_flag::ENV_TRUNCATED),
        (exec_flag::UPPER_LAYER, process_flag::UPPER_LAYER),
    ];
    let unnamed = if path.is_empty() { process_flag::EXE_UNKNOWN } else { 0 };
    let set = named.iter().filter(|(bits, _)| flags & bits != 0).map(|(_, flag)| flag);
    set.fold(unnamed, |all, flag| all | flag)
}

#[cfg(test)]
mod tests {
    use zerocopy::FromZeros as _;

    use super::*;

    fn view<'a>(cwd: &[u8], script: &'a [u8]) -> ExecView<'a> {
        let mut fixed = abi::Exec::new_zeroed();
        (fixed.loginuid, fixed.session) = (u32::MAX, 7);
        (fixed.header.tgid, fixed.inner_pid) = (900, 3);
        ExecView {
            fixed,
            path: b"/bin/sh".to_vec(),
            args: b"sh\0",
            cwd: cwd.to_vec(),
            script,
            interpreter: b"/bin/sh",
            env: b"",
        }
    }

    #[test]
    fn a_script_is_found_from_the_directory() {
        let path =
            |cwd: &[u8], script| exec(&view(cwd, script), ClockPair::default()).process.script;
        assert_eq!(&path(b"/home/a", b"./run.sh")[..], b"/home/a/run.sh");
        assert_eq!(&path(b"/", b"run.sh")[..], b"/run.sh");
        assert_eq!(&path(b"/home", b"/opt/x")[..], b"/opt/x");
        assert_eq!(&path(b"/home", b"")[..], b"");
    }

    #[test]
    fn what_is_not_set_is_nought() {
        let process = exec(&view(b"/", b""), ClockPair::default()).process;
        assert_eq!((process.login_uid, process.session), (0, 8));
        assert_eq!(process.namespace_pid, 3);
    }

    #[test]
    fn terminals_are_named_as_their_files() {
        let names: [(&[u8], &[u8]); 4] =
            [(b"pts12", b"pts/12"), (b"tty1", b"tty1"), (b"", b""), (b"ptsx", b"ptsx")];
        for (kernel, file) in names {
            assert_eq!(&tty(kernel)[..], file);
        }
    }

    #[test]
    fn an_end_tells_how_long_the_process_lived() {
        let mut record = abi::Exit::new_zeroed();
        (record.header.time_ns, record.code) = (5_000, 256);
        let clock = ClockPair { boot_ns: 0, unix_ns: 100 };
        assert_eq!(exit(&record, clock).duration_ns, 0);
        record.header.start_ns = 2_000;
        let ended = exit(&record, clock);
        assert_eq!((ended.duration_ns, ended.time_ns, ended.code), (3_000, 5_100, 256));
    }

    #[test]
    fn standard_descriptors_are_named() {
        let kind = |mode, family| stdio(&abi::Stdio { mode, family, ..Default::default() }).kind;
        assert_eq!(kind(0, 0), stdio_kind::NONE);
        assert_eq!(kind(0o100_644, 0), stdio_kind::FILE);
        assert_eq!(kind(0o020_620, 0), stdio_kind::DEVICE);
        assert_eq!(kind(0o140_777, AF_INET), stdio_kind::INET_SOCKET);
        assert_eq!(kind(0o140_777, AF_UNIX), stdio_kind::UNIX_SOCKET);
        assert_eq!(kind(0o140_777, 16), stdio_kind::OTHER);
    }

    #[test]
    fn flags_cross_by_name() {
        let flags = exec_flag::MEMFD | exec_flag::ARGS_UNREADABLE;
        assert_eq!(
            process_flags(flags, b"/memfd:x"),
            process_flag::MEMFD | process_flag::ARGS_UNKNOWN
        );
        assert_eq!(process_flags(0, b""), process_flag::EXE_UNKNOWN);
    }
}
