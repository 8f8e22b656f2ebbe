//! The probe table: every hook, its ways in order of preference, and what is lost without it.

use sensor_abi::seen::Signal;

use super::way::Way;

/// Both ways in which a program can run when system calls have returned: behind the calls' own
/// functions, and at the end of every call. Pairs of program and call; the program of the first way
/// has `_returned` behind its name.
macro_rules! on_return {
    ($($program:literal $call:literal),* $(,)?) => {
        [
            Way::All(&[$(Way::Return {
                program: concat!($program, "_returned"),
                call: $call,
            }),*]),
            Way::All(&[$(Way::Call { program: $program, call: $call }),*]),
        ]
    };
}

mod file;
mod memory;
mod privilege;
mod process;
mod socket;
mod syscall;
mod uring;

pub(super) use syscall::{SYSCALL, SYSCALL_END};

/// One hook and the signal that it feeds.
#[derive(Debug)]
pub(super) struct Hook {
    /// The hook's name.
    pub(super) name: &'static str,
    /// The signal it feeds.
    pub(super) signal: Signal,
    /// Whether the sensor is of little use without it.
    pub(super) required: bool,
    /// What is lost when no way works.
    pub(super) lost: &'static str,
    /// How to attach, best first.
    pub(super) ways: &'static [Way],
    /// Says why this kernel needs no such hook, if so.
    pub(super) unneeded: fn() -> Option<&'static str>,
}

const fn always_needed() -> Option<&'static str> {
    None
}

/// Hooks on tasks and sockets, by signal. Packets are attached per interface, see `interfaces`.
///
/// No hook but `syscall` may sit on the system call path while a better way works: any program
/// there slows every system call of the host.
const SIGNALS: &[&[Hook]] = &[
    process::HOOKS,
    socket::HOOKS,
    file::HOOKS,
    privilege::HOOKS,
    memory::HOOKS,
    uring::HOOKS,
    syscall::HOOKS,
];

/// Returns every hook of the table.
pub(super) fn hooks() -> impl Iterator<Item = &'static Hook> {
    SIGNALS.iter().copied().flatten()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_hook_has_a_name_of_its_own_and_a_way() {
        let mut names = HashSet::new();
        for hook in hooks() {
            assert!(names.insert(hook.name), "two hooks are called {}", hook.name);
            assert!(!hook.ways.is_empty(), "{} cannot be attached", hook.name);
        }
    }
}
