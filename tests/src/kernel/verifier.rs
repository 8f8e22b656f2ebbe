//! How much work each kernel program is for the verifier, beside the table that is checked in.
//!
//! The kernel gives up on a program after a million instructions. One that grows by a fifth without
//! anybody noticing may be near that on the next kernel, so growth has to be meant:
//! `cargo xtask verify --write` makes the table anew.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::probe::{OBJECT_COMPILER, Probes, Settings};

use super::watch::unavailable;
use crate::{release, skip::trial};

/// Instructions that the verifier followed: a line per program, a column per kernel, below the
/// compiler that made the programs.
const TABLE: &str = include_str!("../../../sensor-ebpf/verifier.tsv");
/// Growth that passes, in parts of what the table says.
const GROWTH: f64 = 0.20;

pub fn trials() -> Vec<Trial> {
    vec![trial("verifier::no_program_grew_by_a_fifth", growth)]
}

fn growth() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let settings = Settings { interfaces: vec!["lo".to_owned()], ..Settings::default() };
    let (version, level) = release::running();
    let kernel = format!("{version}.{level}");
    let mut measured = BTreeMap::new();
    // The harness has begun the line with the trial's name.
    println!("\nmeasured compiler {OBJECT_COMPILER}");
    for verified in Probes::verify(&settings)? {
        let Some(instructions) = verified.instructions else { continue };
        println!("measured verifier {kernel} {} {instructions}", verified.program);
        measured.insert(verified.program, instructions);
    }
    ensure!(!measured.is_empty(), "this kernel tells no program's instructions");
    let by = TABLE.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
    if by != OBJECT_COMPILER {
        let why = format!("the table is of programs by {by}, these are by {OBJECT_COMPILER}");
        return Ok(Completion::ignored_with(why));
    }
    let Some(known) = column(TABLE, &kernel)? else {
        let why = format!("the table has no column for kernel {kernel}");
        return Ok(Completion::ignored_with(why));
    };
    let grown = judge(&measured, &known);
    ensure!(grown.is_empty(), "{}; if meant: cargo xtask verify --write", grown.join("; "));
    Ok(Completion::Completed)
}

/// Reads one kernel's column; programs that it cannot have are left out.
fn column(table: &str, kernel: &str) -> Result<Option<BTreeMap<String, u32>>> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let heading = lines.next().context("the table is empty")?;
    let Some(place) = heading.split('\t').position(|name| name == kernel) else {
        return Ok(None);
    };
    let cell = |line: &str| {
        let mut cells = line.split('\t');
        let program = cells.next()?.to_owned();
        Some((program, cells.nth(place - 1)?.parse().ok()?))
    };
    Ok(Some(lines.filter_map(cell).collect()))
}

/// Names programs that grew by more than what passes, and those that the table lacks.
fn judge(measured: &BTreeMap<String, u32>, known: &BTreeMap<String, u32>) -> Vec<String> {
    let grown = measured.iter().filter_map(|(program, &now)| match known.get(program) {
        None => Some(format!("{program} is not in the table")),
        Some(&before) if f64::from(now) > f64::from(before) * (1.0 + GROWTH) => {
            Some(format!("{program} grew from {before} to {now} instructions"))
        }
        Some(_) => None,
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_a_fifth_and_new_programs_are_named() {
        let table = "# by\nprogram\t6.1\t6.12\nexec\t100\t200\nlsm\t-\t50\n";
        let old = column(table, "6.1").unwrap().unwrap();
        assert_eq!(old, BTreeMap::from([("exec".to_owned(), 100)]));
        let new = column(table, "6.12").unwrap().unwrap();
        let measured = BTreeMap::from([("exec".to_owned(), 240), ("lsm".to_owned(), 61)]);
        assert_eq!(judge(&measured, &new), ["lsm grew from 50 to 61 instructions"]);
        assert_eq!(judge(&measured, &old).len(), 2);
        assert_eq!(column(table, "5.4").unwrap(), None);
    }
}
