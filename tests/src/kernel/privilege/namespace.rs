//! Namespaces made by a call and with a new process, and entered.

use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::libc;
use sensor_abi::act::privilege as action;

use super::{
    super::{
        acts::{each_way, is_silent},
        child,
        watch::{Event, Watch},
    },
    actor, privilege,
};
use crate::skip::trial;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("privilege::unshared_namespaces_are_told", || each_way("namespace", unshared)),
        trial("privilege::entered_namespaces_are_told", || each_way("namespace", entered)),
        trial("privilege::namespaces_of_new_processes_name_them", || {
            each_way("namespace_clone", cloned)
        }),
    ]
}

fn unshared(watch: &mut Watch) -> Result<()> {
    // SAFETY: the call takes flags only; one of them makes no namespace.
    let make = || unsafe { libc::unshare(libc::CLONE_NEWUTS | libc::CLONE_FILES) };
    let maker = actor(make)?;
    let record = privilege(watch, maker, action::NAMESPACE_CREATED)?;
    ensure!(record.act.argument == libc::CLONE_NEWUTS as u64, "{:?}", record.act);
    ensure!(record.act.result == 0, "{:?}", record.act);
    // SAFETY: as above.
    let neighbour = actor(|| unsafe { libc::unshare(libc::CLONE_FILES) })?;
    is_silent(watch, neighbour)
}

fn entered(watch: &mut Watch) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let namespace = std::fs::File::open("/proc/self/ns/uts")?;
    let (descriptor, inode) = (namespace.as_raw_fd(), namespace.metadata()?.ino());
    // SAFETY: a descriptor that the child inherits.
    let enter = |kind| unsafe { libc::setns(descriptor, kind) };
    let enterer = actor(|| enter(libc::CLONE_NEWUTS))?;
    let record = privilege(watch, enterer, action::NAMESPACE_ENTERED)?;
    ensure!(record.act.argument == inode, "{:?} is not {inode}", record.act);
    ensure!(record.act.kind == libc::CLONE_NEWUTS as u32, "{:?}", record.act);
    let (wrong, _) = child::run(|| i32::from(enter(libc::CLONE_NEWNET) == 0))?;
    let refused = privilege(watch, wrong, action::NAMESPACE_ENTERED)?;
    ensure!(refused.act.result == -i64::from(libc::EINVAL), "{:?}", refused.act);
    Ok(())
}

fn cloned(watch: &mut Watch) -> Result<()> {
    let flags = libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let parent = actor(|| {
        let none = std::ptr::null_mut::<u8>();
        // SAFETY: without a stack the call forks; the child ends at once.
        unsafe {
            let with = flags | libc::SIGCHLD;
            let child = libc::syscall(libc::SYS_clone, with, none, none, none, none);
            if child == 0 {
                libc::_exit(0);
            }
            libc::waitpid(child as i32, std::ptr::null_mut(), 0);
            i32::from(child < 0)
        }
    })?;
    let mut record = None;
    let mut born = None;
    watch.until("process in namespaces of its own", |events| {
        for event in events {
            match event {
                Event::Privilege(told) if told.act.header.tgid == parent => record = Some(**told),
                Event::Fork(fork) if fork.parent_tgid == parent => born = Some(fork.header),
                _ => {}
            }
        }
        record.is_some() && born.is_some()
    })?;
    let (Some(record), Some(born)) = (record, born) else { return Ok(()) };
    ensure!(record.act.action == action::NAMESPACE_CREATED, "{:?}", record.act);
    ensure!(record.act.argument == flags as u64, "{:?}", record.act);
    ensure!(record.act.target_tgid == born.tgid, "{:?} of {born:?}", record.act);
    ensure!(record.act.target_start_ns == born.start_ns, "{:?} of {born:?}", record.act);
    let neighbour = actor(|| {
        // SAFETY: forks; the child ends at once.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(0);
            }
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
        0
    })?;
    is_silent(watch, neighbour)
}
