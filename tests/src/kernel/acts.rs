//! What trials of acts on memory and with privileges share: each way in turn, and who did what.

use std::{collections::HashMap, error::Error, fmt};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Completion;
use sensor::probe::{Settings, WayKind};
use sensor_abi::{
    act::ActKey,
    loss::Loss,
    record::{Header, memory::Memory, privilege::Act},
    seen::Signal,
};

use super::watch::{Event, Watch, only, unavailable};

/// What is avoided in turn, so that each way in which a hook can be attached gets its trial.
const AVOIDED: [&[WayKind]; 3] =
    [&[], &[WayKind::Fentry, WayKind::Lsm], &[WayKind::Fentry, WayKind::Lsm, WayKind::Kprobe]];

/// What a trial cannot do without and this machine does not have: the trial is skipped, aloud.
#[derive(Debug)]
pub struct Lacking(pub &'static str);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Lacking {}

/// Runs a trial of a hook once for every way that this kernel has for it.
pub fn each_way(hook: &str, run: impl Fn(&mut Watch) -> Result<()>) -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut tried = Vec::new();
    for avoid in AVOIDED {
        let wanted = only(&[Signal::Memory, Signal::Privilege, Signal::Module, Signal::Uring]);
        let mut watch = Watch::start(&Settings { avoid: avoid.to_vec(), ..wanted })?;
        let report = watch.probes.report().iter().find(|report| report.name == hook);
        let report = report.with_context(|| format!("no hook is called {hook}"))?;
        let way = report.attached.clone();
        let way = way.with_context(|| format!("{hook} is not attached: {report:?}"))?;
        if tried.contains(&way) {
            continue;
        }
        eprintln!("{hook}: {way}");
        match run(&mut watch) {
            Err(error) if error.is::<Lacking>() => {
                return Ok(Completion::ignored_with(error.to_string()));
            }
            done => done.with_context(|| format!("by {way}"))?,
        }
        tried.push(way);
    }
    Ok(Completion::Completed)
}

/// Waits for an act on memory by a process.
pub fn memory(watch: &mut Watch, by: u32, action: u32) -> Result<Memory> {
    watch.find(&format!("act {action} on memory by {by}"), |event| match event {
        Event::Memory(memory) if memory.header.tgid == by && memory.action == action => {
            Some(**memory)
        }
        _ => None,
    })
}

/// Returns the head and the action of an act.
pub fn act(event: &Event) -> Option<(Header, u32)> {
    let of = |act: &Act| (act.header, act.action);
    match event {
        Event::Memory(memory) => Some((memory.header, memory.action)),
        Event::Privilege(privilege) => Some(of(&privilege.act)),
        Event::Credentials(credentials) => Some(of(&credentials.act)),
        Event::Mount(mount) => Some(of(&mount.act)),
        _ => None,
    }
}

/// Returns how often a process did what, as it was counted; what is told at once is left out.
pub fn counts(watch: &mut Watch, by: u32) -> HashMap<u32, u64> {
    let mut counts = HashMap::new();
    for (key, count) in watch.drain.acts() {
        if key.tgid == by {
            *counts.entry(key.action).or_default() += count;
        }
    }
    counts
}

/// Checks that a process that did nothing of the kind made no record.
pub fn is_silent(watch: &mut Watch, process: u32) -> Result<()> {
    let events = watch.until("nothing", |_| true)?;
    let noise: Vec<_> = events
        .iter()
        .filter_map(act)
        .filter(|(header, _)| header.tgid == process)
        .map(|(_, action)| action)
        .collect();
    ensure!(noise.is_empty(), "a benign neighbour made records of the actions {noise:?}");
    let counted = counts(watch, process);
    ensure!(counted.values().all(|count| *count == 0), "a neighbour was counted: {counted:?}");
    Ok(())
}

/// What the kernel programs say of a signal since load: seen and lost.
pub fn totals(watch: &mut Watch, signal: Signal) -> (u64, u64) {
    let seen = watch.drain.seen()[signal as usize];
    let lost = watch.drain.lost();
    (seen, Loss::ALL.iter().map(|loss| lost[loss.slot(signal)]).sum())
}

/// Returns all that was counted of a signal.
pub fn counted(watch: &mut Watch, is_of: impl Fn(&ActKey) -> bool) -> u64 {
    watch.drain.acts().iter().filter(|(key, _)| is_of(key)).map(|(_, count)| count).sum()
}
