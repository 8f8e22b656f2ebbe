//! The targets: what they are, how far they may go, and how one is run.

use crate::memory;

mod batch;
mod capture;
mod cgroup;
mod control;
mod frame;
mod host;
mod login;
mod message;
mod packet;
mod ring;
mod session;
mod settings;
mod spool;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Something that takes any bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// Longest input that is worth a try.
    pub input_max: usize,
    /// Most memory that one input may take.
    pub memory_max: usize,
    /// Whether it is broken on purpose, to show that the search finds what is there to be found.
    pub control: bool,
    /// Panics when a promise is broken.
    check: fn(&[u8]),
    /// Valid examples.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub static TARGETS: &[Target] = &[
    packet::TARGET,
    message::TARGET,
    capture::TARGET,
    login::TARGET,
    cgroup::TARGET,
    ring::TARGET,
    frame::TARGET,
    batch::TARGET,
    session::TARGET,
    spool::TARGET,
    settings::TARGET,
    host::TARGET,
    control::PANIC,
    control::MEMORY,
];

/// Returns the target of a name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

impl Target {
    /// Runs an input.
    ///
    /// # Panics
    /// When the input breaks the target, or takes more memory than it may.
    pub fn run(&self, input: &[u8]) {
        let peak = memory::peak_of(|| (self.check)(input));
        let (name, most) = (self.name, self.memory_max);
        assert!(peak <= most, "{name} took {peak} bytes of memory, {most} are enough");
    }
}

/// Takes a byte that chooses between the parts of a target.
fn choice(input: &[u8], choices: u8) -> Option<(u8, &[u8])> {
    let (first, rest) = input.split_first()?;
    Some((first % choices, rest))
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    /// One test, because memory is counted for the whole process.
    #[test]
    fn seeds_break_nothing_and_controls_break() {
        for target in TARGETS.iter().filter(|target| !target.control) {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
            for seed in seeds {
                assert!(seed.len() <= target.input_max, "{}: a seed is too long", target.name);
                target.run(&seed);
                // Cut seeds are what is met most, beside whole ones.
                (0..seed.len().min(512)).for_each(|end| target.run(&seed[..end]));
            }
            target.run(&[]);
        }
        for (name, input) in control::BREAKING {
            let target = named(name).expect("a control");
            assert!(catch_unwind(|| target.run(input)).is_err(), "{name} does not break");
        }
    }
}
