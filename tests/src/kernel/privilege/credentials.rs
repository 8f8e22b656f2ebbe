//! Users and capabilities that change: by a program that is set to, by a call, by one thread.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::libc;
use sensor_abi::{
    act::{flag, privilege as action},
    record::privilege::Credentials,
};

use super::{
    super::{
        acts::{Lacking, each_way, is_silent},
        child,
        watch::{Event, Watch},
    },
    actor, is,
};
use crate::{figure, skip::trial};

const TRUE: &str = "/bin/true";
/// A user without privileges.
const NOBODY: u32 = 65_534;
/// `CAP_SYS_ADMIN` (linux/capability.h), and the version of capset(2) with 64 bits.
const SYS_ADMIN: u32 = 21;
const VERSION: u32 = 0x2008_0522;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("privilege::a_setuid_program_tells_before_and_after", || {
            each_way("credentials", setuid_program)
        }),
        trial("privilege::users_that_change_are_told_and_no_others", || {
            each_way("credentials", users)
        }),
        trial("privilege::a_thread_that_changes_alone_is_told_apart", || {
            each_way("credentials", one_thread)
        }),
        trial("privilege::a_dropped_capability_is_told", || each_way("credentials", capability)),
    ]
}

/// Returns the changes of a process so far.
fn changes(events: &[Event], by: u32) -> Vec<Credentials> {
    let of = |event: &Event| match event {
        Event::Credentials(record) if is(&record.act, by, action::CREDENTIALS) => Some(**record),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn setuid_program(watch: &mut Watch) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("raised");
    fs::copy(TRUE, &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))?;
    let mut child = Command::new(&program).arg0("true").uid(NOBODY).gid(NOBODY).spawn()?;
    let id = child.id();
    child.wait()?;
    let raised = watch.find("credentials of a setuid program", |event| {
        changes(std::slice::from_ref(event), id)
            .into_iter()
            .find(|change| change.after.euid == 0 && change.after.uid == NOBODY)
    });
    let hook = watch.probes.report().iter().find(|report| report.name == "credentials");
    let way = hook.and_then(|report| report.attached.as_deref()).unwrap_or_default();
    if raised.is_err() && way.starts_with("end of") && !way.contains("sched_prepare_exec") {
        // Its execution has both users.
        figure::tell(
            "S-17",
            "a setuid program: not told by calls' ends, which need Linux 6.10 for it",
        );
        return Ok(());
    }
    if raised.is_err() && is_nosuid(folder.path())? {
        return Err(Lacking("the folder for temporary files ignores the setuid bit").into());
    }
    let raised = raised?;
    ensure!(raised.before.known == 1 && raised.before.euid == NOBODY, "{raised:?}");
    ensure!(raised.before.effective == 0 && raised.after.effective != 0, "{raised:?}");
    figure::tell("S-17", "a setuid program: before and after right");
    Ok(())
}

fn is_nosuid(path: &std::path::Path) -> Result<bool> {
    let flags = nix::sys::statvfs::statvfs(path)?.flags();
    Ok(flags.contains(nix::sys::statvfs::FsFlags::ST_NOSUID))
}

fn set_users(real: u32, effective: u32, saved: u32) -> i64 {
    // SAFETY: the call takes numbers; made raw, so that it concerns this thread alone.
    unsafe { libc::syscall(libc::SYS_setresuid, real, effective, saved) }
}

fn users(watch: &mut Watch) -> Result<()> {
    let daemon = actor(|| {
        // Lowers itself, comes back, and goes for good.
        i32::from(
            set_users(u32::MAX, NOBODY, 0) != 0
                || set_users(u32::MAX, 0, 0) != 0
                || set_users(NOBODY, NOBODY, NOBODY) != 0,
        )
    })?;
    let mut told = Vec::new();
    watch.until("three changes", |events| {
        told = changes(events, daemon);
        told.len() >= 3
    })?;
    let euids: Vec<u32> = told.iter().map(|change| change.after.euid).collect();
    ensure!(euids == [NOBODY, 0, NOBODY], "{told:?}");
    figure::tell("S-17", "3 of 3 changes of users told with the users after them");
    // Who it was before its first change, the stand-in leaves to the sensor.
    for change in &told[1..] {
        ensure!(change.before.known == 1, "{change:?}");
    }
    ensure!(told[1].before.euid == NOBODY && told[2].before.euid == 0, "{told:?}");
    ensure!(told[2].after.uid == NOBODY && told[2].after.effective == 0, "{told:?}");
    let (neighbour, _) = child::run(|| {
        // The second change changes nothing, and no later one does either.
        set_users(0, 0, 0);
        set_users(0, 0, 0);
        0
    })?;
    let same = watch.until("nothing", |_| true)?;
    let same = changes(&same, neighbour);
    // The stand-in cannot know of the first call that it changes nothing; the sensor drops it.
    ensure!(same.iter().all(|change| change.before.known == 0), "{same:?}");
    ensure!(same.len() <= 1, "{same:?}");
    // SAFETY: the call has no arguments.
    let silent = actor(|| i32::from(unsafe { libc::syscall(libc::SYS_getppid) } < 0))?;
    is_silent(watch, silent)
}

fn one_thread(watch: &mut Watch) -> Result<()> {
    const STACK: usize = 64 * 1024;
    extern "C" fn second(_argument: *mut libc::c_void) -> libc::c_int {
        set_users(NOBODY, NOBODY, NOBODY);
        // SAFETY: ends this thread only.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        0
    }
    let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FS;
    let process = actor(|| {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: the new thread has a stack of its own, which nobody frees, and makes system calls
        // only; the first one waits for it.
        unsafe {
            let stack = libc::mmap(std::ptr::null_mut(), STACK, protection, kind, -1, 0);
            if libc::clone(second, stack.byte_add(STACK), flags, std::ptr::null_mut()) < 0 {
                return 1;
            }
            libc::usleep(200_000);
        }
        0
    })?;
    let change = watch.find("change of one thread", |event| {
        changes(std::slice::from_ref(event), process).first().copied()
    })?;
    ensure!(change.act.header.tid != process, "{change:?}");
    ensure!(change.act.flags & flag::ONE_THREAD != 0, "{change:?}");
    figure::tell("S-17", "a change of one thread alone: told, and that it is one thread's");
    ensure!(change.after.euid == NOBODY, "{change:?}");
    Ok(())
}

fn capability(watch: &mut Watch) -> Result<()> {
    let process = actor(|| {
        let header = [VERSION, 0];
        let mut sets = [[0_u32; 3]; 2];
        // SAFETY: header and sets have the sizes of their version and live through the calls.
        unsafe {
            if libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) != 0 {
                return 1;
            }
            sets[0][0] &= !(1 << SYS_ADMIN);
            libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) as i32
        }
    })?;
    let change = watch.find("dropped capability", |event| {
        changes(std::slice::from_ref(event), process).first().copied()
    })?;
    let bit = 1_u64 << SYS_ADMIN;
    figure::tell("S-17", "a dropped capability: told");
    ensure!(change.after.effective & bit == 0, "{change:?}");
    ensure!(change.after.permitted & bit != 0 && change.after.known == 1, "{change:?}");
    if change.before.known == 1 {
        ensure!(change.before.effective & bit != 0, "{change:?}");
    }
    change.act.header.start_ns.checked_sub(1).context("the process has no start")?;
    Ok(())
}
