//! Each field of an exec record, against what the process itself knows.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{FromRawFd as _, OwnedFd},
        unix::{
            fs::{MetadataExt as _, chown},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor_abi::record::exec_flag;

use super::{SHELL, TRUE, copy_of_true, exec_by, exec_of, resolved, settings};
use crate::{
    figure,
    kernel::{
        overlay,
        watch::{Event, Watch, unavailable},
    },
    skip::trial,
};

/// `nobody` everywhere.
const NOBODY: u32 = 65_534;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("processes::directory_script_and_interpreter_are_told", script),
        trial("processes::only_asked_for_variables_are_told", variables),
        trial("processes::a_setuid_program_has_the_users_and_rights_that_it_gets", setuid),
        trial("processes::the_terminal_is_told", terminal),
        trial("processes::namespaces_and_rights_are_what_proc_says", namespaces),
        trial("processes::the_image_is_the_file_that_was_executed", image),
        trial("processes::the_layer_of_an_overlay_is_told", layers),
    ]
}

fn script() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    let place = folder.path().canonicalize()?;
    let file = place.join("run it.sh");
    fs::write(&file, "#!/bin/sh -e\nexit 0\n")?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let exec = exec_of(&mut watch, Command::new("./run it.sh").arg("x").current_dir(&place))?;
    ensure!(exec.cwd == place.as_os_str().as_encoded_bytes(), "{}", exec.cwd.escape_ascii());
    ensure!(exec.script == b"./run it.sh", "{}", exec.script.escape_ascii());
    ensure!(exec.interpreter == b"/bin/sh", "{}", exec.interpreter.escape_ascii());
    ensure!(exec.path == resolved(SHELL)?, "{}", exec.path.escape_ascii());
    let args = b"/bin/sh\0-e\0./run it.sh\0x\0";
    ensure!(exec.args == args, "{}", exec.args.escape_ascii());
    figure::tell("E-07", "a script: told with its name, interpreter and arguments");
    let plain = exec_of(&mut watch, Command::new(TRUE).current_dir("/"))?;
    ensure!(plain.script.is_empty() && plain.interpreter.is_empty(), "{plain:?}");
    ensure!(plain.cwd == b"/", "{}", plain.cwd.escape_ascii());
    Ok(Completion::Completed)
}

fn variables() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let long = "x".repeat(5_000);
    let mut command = Command::new(TRUE);
    command.env_clear().env("A_LONG_ONE", &long).env("SECRET", "LD_PRELOAD=hidden");
    for number in 0..60 {
        command.env(format!("VARIABLE_{number}"), "y");
    }
    command.env("LD_PRELOAD", "/nonexistent.so").env("LD_LIBRARY_PATH", "").stderr(Stdio::null());
    let exec = exec_of(&mut watch, &mut command)?;
    let mut told: Vec<&[u8]> = exec.env.split_inclusive(|byte| *byte == 0).collect();
    told.sort_unstable();
    let expected: [&[u8]; 2] = [b"LD_LIBRARY_PATH=\0", b"LD_PRELOAD=/nonexistent.so\0"];
    ensure!(told == expected, "{}", exec.env.escape_ascii());
    ensure!(exec.flags & exec_flag::ENV_TRUNCATED == 0, "flags {:#x}", exec.flags);
    // A value that is too long is cut, and a variable behind too many others is not found: both
    // are flagged.
    let mut command = Command::new(TRUE);
    command.env_clear().env("LD_PRELOAD", &long).stderr(Stdio::null());
    let exec = exec_of(&mut watch, &mut command)?;
    ensure!(exec.flags & exec_flag::ENV_TRUNCATED != 0, "flags {:#x}", exec.flags);
    ensure!(exec.env.starts_with(b"LD_PRELOAD=xxx") && exec.env.ends_with(b"x\0"), "{exec:?}");
    let mut command = Command::new(TRUE);
    command.env_clear();
    for number in 0..200 {
        command.env(format!("B{number}"), "");
    }
    let exec = exec_of(&mut watch, &mut command)?;
    figure::tell(
        "E-07",
        "LD_PRELOAD and LD_LIBRARY_PATH: told; behind 200 others: flagged as cut, not read",
    );
    ensure!(exec.flags & exec_flag::ENV_TRUNCATED != 0, "flags {:#x}", exec.flags);
    ensure!(exec.env.is_empty(), "{}", exec.env.escape_ascii());
    Ok(Completion::Completed)
}

fn setuid() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (plain, raising, lowering) =
        (folder.path().join("plain"), folder.path().join("up"), folder.path().join("down"));
    copy_of_true(&plain, 0o755)?;
    copy_of_true(&raising, 0o4755)?;
    copy_of_true(&lowering, 0o755)?;
    chown(&lowering, Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(&lowering, std::os::unix::fs::PermissionsExt::from_mode(0o6755))?;
    let mut as_nobody =
        |program: &Path| exec_of(&mut watch, Command::new(program).uid(NOBODY).gid(NOBODY));
    let exec = as_nobody(&plain)?;
    let ids = (exec.header.uid, exec.euid, exec.fixed.gid, exec.egid, exec.capabilities);
    ensure!(ids == (NOBODY, NOBODY, NOBODY, NOBODY, 0), "a plain program: {ids:?}");
    let exec = as_nobody(&raising)?;
    let (ids, rights) = ((exec.header.uid, exec.euid, exec.egid), exec.capabilities);
    if ids == (NOBODY, NOBODY, NOBODY) {
        return Ok(Completion::ignored_with("the temporary folder is mounted nosuid"));
    }
    ensure!(ids == (NOBODY, 0, NOBODY) && rights & 1 << 21 != 0, "raised: {ids:?} {rights:#x}");
    let exec = exec_of(&mut watch, &mut Command::new(&lowering))?;
    let ids = (exec.header.uid, exec.euid, exec.fixed.gid, exec.egid);
    ensure!(ids == (0, NOBODY, 0, NOBODY), "lowered: {ids:?}");
    Ok(Completion::Completed)
}

/// Opens a pseudo terminal; returns its controlling end, and its name below `/dev/pts`.
fn pseudo_terminal() -> io::Result<(OwnedFd, String)> {
    let mut name = [0; 64];
    // SAFETY: plain calls on a descriptor that is ours from here on, and a buffer with its length.
    let master = unsafe {
        let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
        if master < 0 {
            return Err(io::Error::last_os_error());
        }
        let owned = OwnedFd::from_raw_fd(master);
        if libc::grantpt(master) != 0
            || libc::unlockpt(master) != 0
            || libc::ptsname_r(master, name.as_mut_ptr(), name.len()) != 0
        {
            return Err(io::Error::last_os_error());
        }
        owned
    };
    let name: Vec<u8> = name.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    Ok((master, String::from_utf8_lossy(&name).into_owned()))
}

fn terminal() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Ok((_master, name)) = pseudo_terminal() else {
        return Ok(Completion::ignored_with("no pseudo terminal can be opened here"));
    };
    let mut watch = Watch::start(&settings())?;
    let path = std::ffi::CString::new(name.clone())?;
    let mut command = Command::new(TRUE);
    // SAFETY: plain system calls between fork and exec. A session's first process that opens a
    // terminal gets it as the controlling one.
    unsafe {
        command.pre_exec(move || match libc::setsid() {
            -1 => Err(io::Error::last_os_error()),
            _ if libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) < 0 => {
                Err(io::Error::last_os_error())
            }
            _ => Ok(()),
        });
    }
    let exec = exec_of(&mut watch, &mut command)?;
    let tty: Vec<u8> = exec.tty.iter().copied().take_while(|&byte| byte != 0).collect();
    let number = name.rsplit('/').next().unwrap_or_default();
    ensure!(tty == format!("pts{number}").as_bytes(), "{} is not {name}", tty.escape_ascii());
    let mut command = Command::new(TRUE);
    // SAFETY: as above; a new session has no terminal.
    unsafe {
        command
            .pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) })
    };
    let exec = exec_of(&mut watch, &mut command)?;
    ensure!(exec.tty == [0; 16], "{}", exec.tty.escape_ascii());
    Ok(Completion::Completed)
}

/// A shell that lives as long as its standard input is open.
fn waiting_shell() -> Command {
    let mut command = Command::new(SHELL);
    command.args(["-c", "read line"]).stdin(Stdio::piped());
    command
}

fn end(mut child: Child) -> Result<()> {
    drop(child.stdin.take());
    child.wait()?;
    Ok(())
}

fn namespaces() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let child = waiting_shell().spawn()?;
    let compared = compare(&mut watch, child.id());
    end(child)?;
    ensure!(compared? == child_ids(true), "the namespaces of a plain child are its parent's");
    // A process namespace is entered by the next child, so a thread of its own enters it.
    let spawned = std::thread::spawn(|| -> Result<Child> {
        // SAFETY: a plain system call that concerns this thread's children only.
        let entered = unsafe { libc::unshare(libc::CLONE_NEWPID) };
        ensure!(entered == 0, "{}", io::Error::last_os_error());
        let mut command = waiting_shell();
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
        // SAFETY: a plain system call between fork and exec.
        unsafe {
            command.pre_exec(move || match libc::unshare(flags) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            });
        }
        Ok(command.spawn()?)
    });
    let child = spawned.join().ok().context("the thread that makes namespaces failed")??;
    let compared = compare(&mut watch, child.id());
    end(child)?;
    ensure!(compared? == child_ids(false), "a child of new namespaces");
    figure::tell(
        "E-10",
        "new user, process, mount and network namespaces: 4 of 4 told, and the user outside",
    );
    Ok(Completion::Completed)
}

/// Whether a child has its parent's namespaces, its number inside is its number, and it is root
/// outside.
fn child_ids(same: bool) -> (bool, bool, u32) {
    (same, same, 0)
}

/// Compares a running process's record with its `/proc` entry.
fn compare(watch: &mut Watch, id: u32) -> Result<(bool, bool, u32)> {
    let exec = exec_by(watch, id)?;
    let inode = |pid: &str, name: &str| -> Result<u32> {
        Ok(fs::metadata(format!("/proc/{pid}/ns/{name}"))?.ino() as u32)
    };
    let id_text = id.to_string();
    let told = [exec.pid_ns, exec.mnt_ns, exec.net_ns, exec.user_ns];
    let names = ["pid", "mnt", "net", "user"];
    let mut same = 0;
    for (told, name) in told.into_iter().zip(names) {
        let real = inode(&id_text, name)?;
        ensure!(told == real, "{name} namespace {told} instead of {real}");
        same += u32::from(real == inode("self", name)?);
    }
    ensure!(same == 0 || same == 4, "{same} namespaces are shared");
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = |name: &str| -> Option<&str> {
        status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
    };
    let inner = line("NSpid:").and_then(|ids| ids.split_whitespace().last()).context("no NSpid")?;
    ensure!(exec.inner_pid.to_string() == inner, "{} instead of {inner}", exec.inner_pid);
    let rights = u64::from_str_radix(line("CapEff:").context("no CapEff")?, 16)?;
    ensure!(exec.capabilities == rights, "{:#x} instead of {rights:#x}", exec.capabilities);
    for (told, name) in [(exec.loginuid, "loginuid"), (exec.session, "sessionid")] {
        // Without audit the kernel has neither.
        let real = fs::read_to_string(format!("/proc/{id}/{name}"));
        let real = real.map_or(Ok(u32::MAX), |text| text.trim().parse())?;
        let unset = if name == "sessionid" && real == 0 { u32::MAX } else { real };
        ensure!(told == real || told == unset, "{name} {told} instead of {real}");
    }
    Ok((same == 4, exec.inner_pid == id, exec.header.uid))
}

fn image() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("image");
    copy_of_true(&program, 0o755)?;
    // A time that a program chose, as an intruder does.
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    File::options().write(true).open(&program)?.set_modified(long_ago)?;
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&program, &link)?;
    let exec = exec_of(&mut watch, &mut Command::new(&link))?;
    let real = fs::metadata(&program)?;
    let nanoseconds = |seconds: i64, nanos: i64| (seconds * 1_000_000_000 + nanos) as u64;
    ensure!(exec.path.ends_with(b"/image"), "{}", exec.path.escape_ascii());
    ensure!((exec.exe_inode, exec.exe_size) == (real.ino(), real.size()), "{:?}", exec.fixed);
    let times = (exec.exe_mtime_ns, exec.exe_ctime_ns);
    ensure!(times.0 == 1_000_000_000_123_456_789, "changed at {}", times.0);
    let changed = nanoseconds(real.ctime(), real.ctime_nsec());
    ensure!(times.1 == changed, "inode changed at {} instead of {changed}", times.1);
    Ok(Completion::Completed)
}

fn layers() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    if let Some(reason) = overlay::missing()? {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    let place = folder.path().canonicalize()?;
    // Mounts live and end with the thread's own namespace.
    let spawned = std::thread::spawn(move || layered(&place)).join();
    let ids = spawned.ok().context("the thread that mounts failed")??;
    let expected = [0, exec_flag::UPPER_LAYER, exec_flag::UPPER_LAYER];
    let of = |event: &Event, id| match event {
        Event::Exec(exec) if exec.header.tgid == id => Some(exec.clone()),
        _ => None,
    };
    let events = watch.until("three exec records", |events| {
        ids.iter().all(|id| events.iter().any(|event| of(event, *id).is_some()))
    })?;
    for (id, layer) in ids.into_iter().zip(expected) {
        let exec = events.iter().find_map(|event| of(event, id)).context("found, then not")?;
        ensure!(exec.flags & exec_flag::OVERLAY != 0, "flags {:#x}", exec.flags);
        if exec.flags & exec_flag::LAYER_UNKNOWN != 0 {
            return Ok(Completion::ignored_with("the overlay module's types are not known"));
        }
        ensure!(exec.flags & exec_flag::UPPER_LAYER == layer, "flags {:#x}", exec.flags);
    }
    Ok(Completion::Completed)
}

/// Executes a program from an overlay's lower layer, a new one, and one that was changed there.
fn layered(place: &Path) -> Result<[u32; 3]> {
    let merged = overlay::of_this_thread(place, |lower| {
        copy_of_true(&lower.join("old"), 0o755)?;
        copy_of_true(&lower.join("changed"), 0o755)
    })?;
    copy_of_true(&merged.join("new"), 0o755)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(merged.join("changed"), mode)?;
    let mut ids = [0; 3];
    for (id, name) in ids.iter_mut().zip(["old", "new", "changed"]) {
        let mut child = Command::new(merged.join(name)).spawn()?;
        *id = child.id();
        child.wait()?;
    }
    Ok(ids)
}
