//! Signals that are switched off and on while the sensor runs.

use std::process::Command;

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sensor::probe::Settings;
use sensor_abi::seen::Signal;

use super::{
    child,
    watch::{Event, Watch, only, unavailable},
};
use crate::skip::trial;

const TRUE: &str = "/bin/true";
/// Hooks that nothing switches off.
const ALWAYS: [&str; 3] = ["exec", "fork", "exit"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("signals::nothing_is_attached_for_what_is_off", off),
        trial("signals::are_switched_live_and_no_execution_is_missed", live),
        trial("signals::variables_change_live", variables),
    ]
}

fn attached(watch: &Watch) -> Vec<&'static str> {
    let attached = watch.probes.report().iter().filter(|hook| hook.attached.is_some());
    attached.map(|hook| hook.name).collect()
}

/// Executes a program; returns its process id.
fn execute() -> Result<u32> {
    let mut child = Command::new(TRUE).spawn()?;
    child.wait()?;
    Ok(child.id())
}

fn off() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&only(&[]))?;
    ensure!(attached(&watch) == ALWAYS, "{:?} are attached", attached(&watch));
    for hook in watch.probes.report() {
        let said = hook.stands_in.as_deref() == Some("switched off by the settings");
        ensure!(said != ALWAYS.contains(&hook.name), "{hook:?}");
    }
    let id = execute()?;
    watch.find("exec record", |event| match event {
        Event::Exec(exec) if exec.header.tgid == id => Some(()),
        _ => None,
    })?;
    Ok(Completion::Completed)
}

/// Does what is seen while acts on memory are wanted; not here, since the sensor's own process is
/// left out.
fn act() -> Result<()> {
    let (_, status) = child::run(|| i32::from(memfd_create("smk", MFdFlags::empty()).is_err()))?;
    ensure!(status == 0, "no memory file could be made");
    Ok(())
}

/// What the programs have seen of memory acts by now.
fn memory_acts(watch: &mut Watch) -> u64 {
    watch.drain.seen()[Signal::Memory as usize]
}

fn live() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let wanted = only(&[Signal::Memory, Signal::Privilege, Signal::Uring]);
    let mut watch = Watch::start(&only(&[]))?;
    let mut executed = Vec::new();
    for round in 0..3 {
        executed.push(execute()?);
        let seen = memory_acts(&mut watch);
        watch.probes.change(&wanted)?;
        ensure!(memory_acts(&mut watch) >= seen, "counters went back in round {round}");
        ensure!(attached(&watch).contains(&"memory_file"), "{:?}", attached(&watch));
        executed.push(execute()?);
        let before = memory_acts(&mut watch);
        act()?;
        ensure!(memory_acts(&mut watch) > before, "round {round}: the act was not seen");
        watch.probes.change(&only(&[]))?;
        ensure!(attached(&watch) == ALWAYS, "{:?} stay attached", attached(&watch));
        let before = memory_acts(&mut watch);
        act()?;
        ensure!(memory_acts(&mut watch) == before, "round {round}: seen, although it is off");
        executed.push(execute()?);
    }
    let mut missing = executed.clone();
    watch.until("every execution", |events| {
        missing.retain(|id| {
            !events.iter().any(|event| matches!(event, Event::Exec(e) if e.header.tgid == *id))
        });
        missing.is_empty()
    })?;
    println!("switched 6 times: {} of {} executions missed", missing.len(), executed.len());
    Ok(Completion::Completed)
}

fn variables() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&only(&[]))?;
    let variables = vec!["SMK_WANTED".to_owned()];
    for (settings, wanted) in [
        (None, &b"LD_PRELOAD=\0"[..]),
        (Some(Settings { variables, ..only(&[]) }), &b"SMK_WANTED=1\0"[..]),
    ] {
        settings.map(|settings| watch.probes.change(&settings)).transpose()?;
        let mut command = Command::new(TRUE);
        let mut child = command.env_clear().env("LD_PRELOAD", "").env("SMK_WANTED", "1").spawn()?;
        child.wait()?;
        let told = watch.find("exec record", |event| match event {
            Event::Exec(exec) if exec.header.tgid == child.id() => Some(exec.env.clone()),
            _ => None,
        })?;
        ensure!(told == wanted, "{} is told", told.escape_ascii());
    }
    Ok(Completion::Completed)
}
