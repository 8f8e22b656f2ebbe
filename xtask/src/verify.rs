//! `cargo xtask verify`: what each kernel program costs the verifier, here and in the guests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, ensure};

use crate::count::Count;
use crate::setup::{self, Need};
use crate::{shell, test, vm};

/// The checked-in table: a line per program, a column per kernel.
const TABLE: &str = "sensor-ebpf/verifier.tsv";
/// The trial that measures and judges.
const TRIAL: &str = "verifier::";

/// Runs the trial on every kernel; with `write` the table is made anew from what it measured.
pub fn run(write: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Vm])?;
    let program = test::test_program("kernel")?;
    let mut count = test::harness(shell::as_root(program).args(["--nocapture", TRIAL]))?;
    count.add(vm::count(&[], &[TRIAL.to_owned()])?);
    if write {
        let path = shell::root().join(TABLE);
        let table = table(&count.measured);
        ensure!(table.lines().count() > 1, "no kernel told anything");
        fs::write(&path, table).with_context(|| format!("failed to write {}", path.display()))?;
        println!("{TABLE} is written");
        return Ok(true);
    }
    report(&count);
    Ok(count.failed == 0)
}

fn report(count: &Count) {
    println!("{}", table(&count.measured));
    println!("{} passed, {} failed, {} skipped", count.passed, count.failed, count.skipped.len());
}

/// The compiler of the programs that were measured.
fn compiler(measured: &[String]) -> Option<&str> {
    measured.iter().find_map(|line| line.strip_prefix("compiler "))
}

/// `verifier KERNEL PROGRAM INSTRUCTIONS` lines → the table; `-` where a kernel lacks a hook.
fn table(measured: &[String]) -> String {
    let mut cells: BTreeMap<(&str, Kernel<'_>), &str> = BTreeMap::new();
    for line in measured {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["verifier", kernel, program, instructions] = words[..] {
            cells.insert((program, Kernel::of(kernel)), instructions);
        }
    }
    let kernels: BTreeSet<Kernel<'_>> = cells.keys().map(|(_, kernel)| *kernel).collect();
    let programs: BTreeSet<&str> = cells.keys().map(|(program, _)| *program).collect();
    let mut text = format!("# {}\nprogram", compiler(measured).unwrap_or("unknown"));
    kernels.iter().for_each(|kernel| text += &format!("\t{}", kernel.name));
    for program in programs {
        text += &format!("\n{program}");
        for kernel in &kernels {
            text += &format!("\t{}", cells.get(&(program, *kernel)).unwrap_or(&"-"));
        }
    }
    text + "\n"
}

/// A kernel in the order of its numbers: 6.2 comes before 6.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel<'a> {
    numbers: (u32, u32),
    name: &'a str,
}

impl<'a> Kernel<'a> {
    fn of(name: &'a str) -> Self {
        let mut parts = name.split('.').map(|part| part.parse().unwrap_or(0));
        let numbers = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        Self { numbers, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_a_table_with_gaps() {
        let lines = [
            "compiler c 1",
            "verifier 6.12 exec 20",
            "verifier 6.1 exec 10",
            "verifier 6.12 lsm 5",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(table(&lines), "# c 1\nprogram\t6.1\t6.12\nexec\t10\t20\nlsm\t-\t5\n");
    }
}
