//! Privileges used and gained for real.

mod credentials;
mod mount;
mod namespace;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::libc;
use sensor_abi::{
    act::privilege as action,
    record::privilege::{Act, Privilege},
};

use super::{
    acts::{each_way, is_silent},
    child,
    watch::{Event, Watch},
};
use crate::skip::trial;

/// `bpf` commands and types (linux/bpf.h).
const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SOCKET_FILTER: u32 = 1;
/// `UFFD_USER_MODE_ONLY`.
const USER_MODE_ONLY: i32 = 1;

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("privilege::bpf_programs_and_maps_are_named", || each_way("bpf", bpf)),
        trial("privilege::userfaultfd_is_told", || each_way("userfaultfd", user_faults)),
    ];
    trials.extend(credentials::trials());
    trials.extend(mount::trials());
    trials.extend(namespace::trials());
    trials
}

/// Runs `work` in a child that must succeed.
fn actor(work: impl FnOnce() -> i32) -> Result<u32> {
    let (id, status) = child::run(work)?;
    ensure!(status == 0, "the child's work failed: {status:#x}");
    Ok(id)
}

/// Waits for an act with a short name, or none.
fn privilege(watch: &mut Watch, by: u32, action: u32) -> Result<Privilege> {
    watch.find(&format!("act {action} of {by}"), |event| match event {
        Event::Privilege(record) if is(&record.act, by, action) => Some(**record),
        _ => None,
    })
}

fn is(act: &Act, by: u32, action: u32) -> bool {
    act.header.tgid == by && act.action == action
}

/// The parts of `union bpf_attr` that making a map and loading a program need.
#[repr(C)]
#[derive(Default)]
struct MapAttributes {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct ProgramAttributes {
    kind: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
    name: [u8; 16],
}

fn call_bpf<T>(command: u32, attributes: &T) -> i64 {
    // SAFETY: the attributes live through the call, with their size.
    unsafe { libc::syscall(libc::SYS_bpf, command, ptr(attributes), size_of::<T>()) }
}

const fn ptr<T>(value: &T) -> *const T {
    value
}

fn bpf(watch: &mut Watch) -> Result<()> {
    let loader = actor(|| {
        let map = |kind, name| MapAttributes {
            kind,
            key_size: 4,
            value_size: 8,
            entries: 1,
            name,
            ..MapAttributes::default()
        };
        // r0 = 0; exit
        let code: [u64; 2] = [0xb7, 0x95];
        let program = ProgramAttributes {
            kind: PROG_TYPE_SOCKET_FILTER,
            instructions: 2,
            code: code.as_ptr() as u64,
            licence: c"GPL".as_ptr() as u64,
            name: *b"trial_prog\0\0\0\0\0\0",
            ..ProgramAttributes::default()
        };
        let made = call_bpf(MAP_CREATE, &map(MAP_TYPE_ARRAY, *b"trial_map\0\0\0\0\0\0\0"));
        let loaded = call_bpf(PROG_LOAD, &program);
        let refused = call_bpf(MAP_CREATE, &map(9_999, *b"refused_map\0\0\0\0\0"));
        i32::from(made < 0) | i32::from(loaded < 0) << 1 | i32::from(refused >= 0) << 2
    })?;
    let mut maps = Vec::new();
    let mut program = None;
    watch.until("two maps and a program", |events| {
        let records = events.iter().filter_map(|event| match event {
            Event::Privilege(record) if record.act.header.tgid == loader => Some(**record),
            _ => None,
        });
        let (of_maps, others): (Vec<_>, Vec<_>) =
            records.partition(|record| record.act.action == action::BPF_MAP);
        maps = of_maps;
        program = others.first().copied();
        maps.len() == 2 && program.is_some()
    })?;
    let program = program.unwrap_or(maps[0]);
    ensure!(program.act.action == action::BPF_PROGRAM, "{:?}", program.act);
    ensure!(program.act.kind == PROG_TYPE_SOCKET_FILTER, "{:?}", program.act);
    ensure!(program.name.starts_with(b"trial_prog\0"), "{}", program.name.escape_ascii());
    ensure!(maps[0].act.kind == MAP_TYPE_ARRAY && maps[0].act.result >= 0, "{:?}", maps[0].act);
    ensure!(maps[0].name.starts_with(b"trial_map\0"), "{}", maps[0].name.escape_ascii());
    ensure!(maps[1].act.kind == 9_999 && maps[1].act.result < 0, "{:?}", maps[1].act);
    ensure!(maps[1].name.starts_with(b"refused_map\0"), "{}", maps[1].name.escape_ascii());
    Ok(())
}

fn user_faults(watch: &mut Watch) -> Result<()> {
    // SAFETY: the call takes flags only.
    let make = || unsafe { libc::syscall(libc::SYS_userfaultfd, USER_MODE_ONLY | libc::O_CLOEXEC) };
    let (maker, status) = child::run(|| i32::from(make() < 0))?;
    let record = privilege(watch, maker, action::USERFAULTFD)?;
    ensure!((record.act.result >= 0) == (status == 0), "{:?}", record.act);
    ensure!(record.act.argument == (USER_MODE_ONLY | libc::O_CLOEXEC) as u64, "{:?}", record.act);
    // SAFETY: the call has no arguments.
    let neighbour = actor(|| i32::from(unsafe { libc::syscall(libc::SYS_getppid) } < 0))?;
    is_silent(watch, neighbour)
}
