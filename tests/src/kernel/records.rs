//! Records of real processes and sockets, compared with what the processes themselves know.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, net::UnixStream, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor::probe::{Scope, Settings};
use sensor_abi::{
    record::{exec_flag, socket_event},
    seen::Signal,
};

use super::{
    child,
    group::{self, Group},
    traffic::{self, Ip},
    watch::{Event, Exec, Watch, only, unavailable},
};
use crate::skip::trial;

/// Present on every system that trials run on, also as a link to busybox.
const TRUE: &str = "/bin/true";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("records::standard_streams_on_sockets_are_described", streams),
        trial("records::a_memfd_is_told_from_a_file", memfd),
        trial("records::an_unlinked_program_is_told_from_a_file", unlinked),
        trial("records::long_arguments_are_cut_and_flagged", long_arguments),
        trial("records::deep_paths_are_cut_and_flagged", deep_path),
        trial("records::fork_and_exit_name_processes_not_threads", fork_and_exit),
        trial("records::exit_status_is_what_wait_reports", exit_status),
        trial("records::sockets_of_both_families_name_their_process", sockets),
        trial("records::only_tasks_below_the_cgroup_are_watched", cgroup_scope),
    ]
}

fn watch() -> Result<Watch> {
    Watch::start(&only(&[Signal::Socket]))
}

/// Runs a command and returns its exec record.
fn exec_of(watch: &mut Watch, command: &mut Command) -> Result<Exec> {
    // cargo sets it, longer than a record may tell.
    command.env_remove("LD_LIBRARY_PATH");
    let mut child = command.spawn().with_context(|| format!("could not run {command:?}"))?;
    let id = child.id();
    child.wait()?;
    watch.find("exec record", |event| match event {
        Event::Exec(exec) if exec.header.tgid == id => Some((**exec).clone()),
        _ => None,
    })
}

fn streams() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let listener = TcpListener::bind("127.0.0.1:0").context("loopback is down")?;
    let tcp = TcpStream::connect(listener.local_addr()?)?;
    let (local, remote) = (tcp.local_addr()?.port(), tcp.peer_addr()?.port());
    let (unix, _other) = UnixStream::pair()?;
    let exec = exec_of(
        &mut watch,
        Command::new(TRUE)
            .stdin(Stdio::from(OwnedFd::from(tcp)))
            .stdout(Stdio::from(OwnedFd::from(unix)))
            .stderr(Stdio::from(File::options().write(true).open("/dev/null")?)),
    )?;
    let kind = |index: usize| u32::from(exec.stdio[index].mode) & libc::S_IFMT;
    ensure!(kind(0) == libc::S_IFSOCK && exec.stdio[0].family == 2, "{:?}", exec.stdio[0]);
    ensure!(exec.stdio[0].remote_addr == Ip::V4([127, 0, 0, 1]).mapped(), "{:?}", exec.stdio[0]);
    let ports = (exec.stdio[0].local_port, exec.stdio[0].remote_port);
    ensure!(ports == (local, remote), "{ports:?} instead of {local} and {remote}");
    ensure!(kind(1) == libc::S_IFSOCK && exec.stdio[1].family == 1, "{:?}", exec.stdio[1]);
    ensure!(kind(2) == libc::S_IFCHR && exec.stdio[2].family == 0, "{:?}", exec.stdio[2]);
    ensure!(exec.comm.starts_with(b"true\0"), "{}", exec.comm.escape_ascii());
    ensure!(exec.header.uid == 0 && exec.euid == 0, "{:?}", exec.header);
    Ok(Completion::Completed)
}

fn memfd() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    // SAFETY: a string that ends with NUL; the descriptor is new and owned from here on.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"payload".as_ptr(), 0)) };
    file.write_all(&fs::read(TRUE)?)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let exec = exec_of(&mut watch, Command::new(path).arg0("true"))?;
    ensure!(exec.flags & exec_flag::MEMFD != 0, "flags {:#x}", exec.flags);
    ensure!(exec.path == b"/memfd:payload", "{}", exec.path.escape_ascii());
    let plain = exec_of(&mut watch, &mut Command::new(TRUE))?;
    ensure!(plain.flags == 0, "flags of a plain program: {:#x}", plain.flags);
    Ok(Completion::Completed)
}

/// Copies the program somewhere.
fn copy_of_true(to: &Path) -> Result<()> {
    fs::copy(TRUE, to).with_context(|| format!("could not copy {TRUE} to {}", to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn unlinked() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("gone");
    copy_of_true(&program)?;
    let file = File::open(&program)?;
    fs::remove_file(&program)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let exec = exec_of(&mut watch, Command::new(path).arg0("true"))?;
    let flags = exec.flags & (exec_flag::UNLINKED | exec_flag::MEMFD);
    ensure!(flags == exec_flag::UNLINKED, "flags {:#x}", exec.flags);
    ensure!(exec.path.ends_with(b"/gone"), "{}", exec.path.escape_ascii());
    Ok(Completion::Completed)
}

fn long_arguments() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let long = "x".repeat(10_000);
    let exec = exec_of(&mut watch, Command::new(TRUE).arg(&long))?;
    ensure!(exec.flags & exec_flag::ARGS_TRUNCATED != 0, "flags {:#x}", exec.flags);
    ensure!(exec.args.len() == sensor_abi::record::exec::ARGS_MAX, "{} bytes", exec.args.len());
    ensure!(exec.args.starts_with(b"/bin/true\0xxxx"), "{}", exec.args[..20].escape_ascii());
    // The longest that fits is not cut.
    let fits = sensor_abi::record::exec::ARGS_MAX - "/bin/true\0\0".len();
    let exec = exec_of(&mut watch, Command::new(TRUE).arg(&long[..fits]))?;
    ensure!(exec.flags == 0 && exec.args.ends_with(b"x\0"), "flags {:#x}", exec.flags);
    Ok(Completion::Completed)
}

fn deep_path() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let folder = tempfile::tempdir()?;
    let place = |depth: usize| -> PathBuf { folder.path().join("d/".repeat(depth)) };
    for (depth, cut) in [(20, false), (60, true)] {
        fs::create_dir_all(place(depth))?;
        let program = place(depth).join("deep");
        copy_of_true(&program)?;
        let exec = exec_of(&mut watch, &mut Command::new(&program))?;
        let flagged = exec.flags & exec_flag::PATH_TRUNCATED != 0;
        ensure!(flagged == cut, "depth {depth}: flags {:#x}", exec.flags);
        let whole = program.as_os_str().as_encoded_bytes();
        let right = if cut { whole.ends_with(&exec.path) } else { whole == exec.path };
        ensure!(right && exec.path.ends_with(b"/d/deep"), "{}", exec.path.escape_ascii());
    }
    Ok(Completion::Completed)
}

fn fork_and_exit() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let (child, status) = child::run(child::leader_leaves_first)?;
    let events = watch.until("exit of the child", |events| exits(events, child).len() == 1)?;
    let forks: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Fork(fork) if fork.header.tgid == child => Some(fork),
            _ => None,
        })
        .collect();
    ensure!(forks.len() == 1, "{} forks of one process with two threads", forks.len());
    ensure!(forks[0].parent_tgid == std::process::id(), "{:?}", forks[0]);
    let exit = exits(&events, child)[0];
    ensure!(exit.header.start_ns == forks[0].header.start_ns, "{exit:?} {:?}", forks[0]);
    ensure!(exit.header.tid != child, "the second thread is the last one: {exit:?}");
    let lived_ns = exit.header.time_ns - forks[0].header.time_ns;
    ensure!(lived_ns >= 100_000_000, "reported when its leader left, after {lived_ns} ns");
    ensure!(exit.code == status as u32, "status {:#x}, wait says {status:#x}", exit.code);
    Ok(Completion::Completed)
}

fn exits<'a>(events: &'a [Event], child: u32) -> Vec<&'a sensor_abi::record::Exit> {
    let of = |event: &'a Event| match event {
        Event::Exit(exit) if exit.header.tgid == child => Some(exit),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn exit_status() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    // SAFETY: plain system calls; the child ends itself.
    let killed = || unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    let ways: [fn() -> i32; 2] = [|| 3, killed];
    for way in ways {
        let (child, status) = child::run(way)?;
        let events = watch.until("exit", |events| !exits(events, child).is_empty())?;
        let code = exits(&events, child)[0].code;
        ensure!(code == status as u32, "status {code:#x}, wait says {status:#x}");
    }
    Ok(Completion::Completed)
}

fn sockets() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = watch()?;
    let mut localhost6 = [0; 16];
    localhost6[15] = 1;
    for (ip, port, version) in
        [(Ip::V4([127, 0, 0, 1]), 47_321, 4), (Ip::V6(localhost6), 47_322, 6)]
    {
        let (child, status) = child::run(move || traffic::connect_to_self(ip, port))?;
        ensure!(status == 0, "the child's traffic failed: {status}");
        let of_port = |event: &Event| match event {
            Event::Socket(socket) => {
                (socket.local_port == port || socket.remote_port == port).then_some(*socket)
            }
            _ => None,
        };
        let wanted = [
            socket_event::LISTEN,
            socket_event::CONNECTED,
            socket_event::ACCEPTED,
            socket_event::CLOSED,
            socket_event::LISTEN_CLOSED,
        ];
        let events = watch.until("every change of the sockets", |events| {
            wanted
                .iter()
                .all(|kind| events.iter().filter_map(of_port).any(|socket| socket.event == *kind))
        })?;
        for socket in events.iter().filter_map(of_port) {
            ensure!(socket.header.tgid == child, "by {}: {socket:?}", socket.header.tgid);
            ensure!(socket.family == version, "{socket:?}");
            let listens = [socket_event::LISTEN, socket_event::LISTEN_CLOSED];
            if !listens.contains(&socket.event) {
                ensure!(socket.remote_addr == ip.mapped(), "{socket:?}");
                ensure!(socket.local_addr == ip.mapped(), "{socket:?}");
                ensure!(socket.local_port != 0 && socket.remote_port != 0, "{socket:?}");
            }
        }
        let (refused, status) = child::run(move || traffic::connect_refused(ip, port + 100))?;
        ensure!(status == 0, "a connection that had to be refused was not");
        watch.find("refused connection", |event| match event {
            Event::Socket(socket) if socket.event == socket_event::CONNECT_FAILED => {
                let right = socket.header.tgid == refused && socket.remote_port == port + 100;
                right.then_some(())
            }
            _ => None,
        })?;
    }
    Ok(Completion::Completed)
}

fn cgroup_scope() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let group = Group::new(root.join(format!("smk-t-{}", std::process::id())))?;
    let below = Group::new(group.path().join("below"))?;
    let scope = Scope { cgroup: Some(group.path().to_owned()), netns: None };
    let settings = Settings { scope, ..only(&[]) };
    let mut watch = Watch::start(&settings)?;
    let outside = Command::new(TRUE).spawn()?.wait_with_output();
    outside.context("could not run a program outside the scope")?;
    let joins = below.path().join("cgroup.procs");
    let join = move || fs::write(&joins, "0");
    let mut command = Command::new(TRUE);
    // SAFETY: the child writes a file before it executes; the allocator is not in use there.
    unsafe { command.pre_exec(join) };
    let exec = exec_of(&mut watch, &mut command)?;
    ensure!(exec.path.ends_with(b"/true") || exec.path.ends_with(b"busybox"), "{exec:?}");
    let seen = watch.drain.seen()[Signal::Exec as usize];
    ensure!(seen == 1, "{seen} executions seen inside a scope that had one");
    Ok(Completion::Completed)
}
