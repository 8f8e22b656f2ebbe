//! Attaches the hooks of signals that are wanted, and lets go of those of signals that are not.

use std::collections::HashSet;

use aya::Ebpf;
use sensor_abi::seen::Signal;

use super::{
    HookReport, Settings, SyscallMode, attach, payload,
    table::{self, Hook, SYSCALL},
    tracefs,
};

/// Returns the report of a sensor that has not begun.
pub(super) fn all_off() -> Vec<HookReport> {
    let hooks = table::hooks().map(off);
    hooks.chain([payload::switched_off()]).collect()
}

/// Loads what [`bring_in_line`] attaches, so that it takes no time then.
pub(super) fn load_ahead(programs: &mut Ebpf, settings: &Settings, kernel: &attach::Kernel<'_>) {
    let hooks = table::hooks().filter(|hook| wanted(hook, settings));
    hooks.for_each(|hook| attach::load_ahead(programs, hook, kernel));
    if wants_messages(settings) {
        payload::load_ahead(programs);
    }
}

/// Brings what is attached in line with what is wanted: what is wanted before and after is not
/// touched. Packet programs are attached per interface, see `interfaces`.
pub(super) fn bring_in_line(
    programs: &mut Ebpf,
    report: &mut [HookReport],
    settings: &Settings,
    kernel: &attach::Kernel<'_>,
) {
    let needed: HashSet<&str> = programs_of(table::hooks().filter(|hook| wanted(hook, settings)));
    tracefs::visible(|| {
        for hook in table::hooks() {
            let Some(report) = report.iter_mut().find(|report| report.name == hook.name) else {
                continue;
            };
            match (wanted(hook, settings), report.attached.is_some()) {
                (true, false) => *report = attach::hook(programs, hook, kernel),
                (false, _) => {
                    attach::let_go(programs, hook, &needed);
                    *report = off(hook);
                }
                (true, true) => {}
            }
            if hook.name == SYSCALL {
                describe_counting(report, settings.syscalls);
            }
        }
    });
    if let Some(report) = report.iter_mut().find(|report| report.name == payload::NAME) {
        match (wants_messages(settings), report.attached.is_some()) {
            (true, false) => *report = payload::chain(programs),
            (false, true) => {
                payload::unchain(programs);
                *report = payload::switched_off();
            }
            _ => {}
        }
    }
}

fn wanted(hook: &Hook, settings: &Settings) -> bool {
    settings.wants(hook.signal)
}

fn wants_messages(settings: &Settings) -> bool {
    settings.wants(Signal::Dns) || settings.wants(Signal::Tls)
}

fn off(hook: &Hook) -> HookReport {
    HookReport::switched_off(hook.name, hook.signal, hook.lost)
}

fn programs_of(hooks: impl Iterator<Item = &'static Hook>) -> HashSet<&'static str> {
    let mut programs = HashSet::new();
    for way in hooks.flat_map(|hook| hook.ways) {
        way.parts(&mut |part| programs.extend(part.program()));
    }
    programs
}

/// Says in the report when system calls are counted; the hook itself is attached only then.
fn describe_counting(hook: &mut HookReport, mode: SyscallMode) {
    const SAMPLED: &str = ", in short windows";
    if let Some(attached) = &mut hook.attached {
        let whole = attached.strip_suffix(SAMPLED).unwrap_or(attached).to_owned();
        *attached = match mode {
            SyscallMode::Sampled => whole + SAMPLED,
            SyscallMode::Continuous | SyscallMode::Off => whole,
        };
    }
}
