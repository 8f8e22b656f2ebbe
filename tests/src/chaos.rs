//! Chaos: a real brain and the sensors' real transport, while packets are lost, programs killed and
//! disks full. Whatever happens, each event is in the brain's journal once or counted as lost.
//!
//! A seed says what happens when; how real processes interleave around it is the machine's.
//! [`plan`] makes it of the seed, [`stage`] acts it out over a [`link`] and on [`disk`]s, [`feed`]
//! stands in for the kernel, [`sensor`] is the child, [`judge`] has the last word.

pub mod disk;
pub mod feed;
pub mod judge;
pub mod link;
pub mod plan;
pub mod sensor;
pub mod stage;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use serde_json::json;

use crate::interrupt;
use judge::Verdict;
use plan::Plan;
use stage::Stage;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub seeds: u64,
    /// Trials at the same time.
    pub together: u64,
    /// Print one trial per line as JSON.
    pub json: bool,
}

/// What a seed came to.
#[derive(Debug)]
pub struct Trial {
    seed: u64,
    plan: Plan,
    verdict: Verdict,
    unnoticed: Vec<&'static str>,
    packets: [u64; 3],
    duplicates: u64,
    outlived: u64,
    arrive: Duration,
    took: Duration,
}

/// Runs the seeds, prints each, and returns whether all were good.
pub fn run(options: &Options) -> Result<bool> {
    disk::own_mounts()?;
    let (next, trials) = (AtomicU64::new(options.seed), Mutex::new(Vec::new()));
    let end = options.seed.saturating_add(options.seeds);
    let turns = || -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let trial = trial(seed)?;
            println!("{}", if options.json { trial.json() } else { trial.text() });
            trials.lock().map_err(|_| anyhow!("another turn panicked"))?.push(trial);
        }
    };
    std::thread::scope(|scope| {
        let turns: Vec<_> = (0..options.together.max(1)).map(|_| scope.spawn(turns)).collect();
        let ends = turns.into_iter().map(|turn| turn.join().map_err(|_| anyhow!("it panicked"))?);
        ends.collect::<Result<Vec<()>>>()
    })?;
    let trials = trials.into_inner().map_err(|_| anyhow!("a turn panicked"))?;
    if !options.json {
        println!("{}", summary(&trials));
    }
    Ok(trials.iter().all(Trial::is_good))
}

fn trial(seed: u64) -> Result<Trial> {
    interrupt::check()?;
    let (begun, plan) = (Instant::now(), Plan::new(seed));
    let mut stage = Stage::start(&plan, seed)?;
    stage.trouble(&plan)?;
    let (mut verdict, unnoticed, arrive) = stage.judge()?;
    verdict.faults.append(&mut stage.faults);
    let (packets, took) = (stage.packets(), begun.elapsed());
    let (duplicates, outlived) = (stage.duplicates, stage.outlived);
    let trial =
        Trial { seed, plan, verdict, unnoticed, packets, duplicates, outlived, arrive, took };
    if !trial.is_good() {
        eprintln!("seed {seed}: logs are in {}", stage.keep_logs(seed)?.display());
    }
    Ok(trial)
}

impl Trial {
    fn is_good(&self) -> bool {
        self.verdict.faults.is_empty() && self.unnoticed.is_empty()
    }

    fn text(&self) -> String {
        let Verdict { faults, seen, delivered, present, lost, doubted, .. } = &self.verdict;
        let all: u64 = lost.values().sum();
        let mut text = format!(
            "seed {}: {seen} seen = {delivered} delivered + {all} lost {lost:?}; {present} in the \
             journal, {doubted} of them unknown to the sensors; {} duplicates refused; arrived after \
             {:.1} s, took {:.1} s",
            self.seed,
            self.duplicates,
            self.arrive.as_secs_f32(),
            self.took.as_secs_f32()
        );
        for fault in faults {
            text.push_str(&format!("\n  WRONG: {fault}"));
        }
        for control in &self.unnoticed {
            text.push_str(&format!("\n  WRONG: a spoiled journal passes: {control}"));
        }
        if !self.is_good() {
            text.push_str(&format!("\n  {}", self.plan.text()));
        }
        text
    }

    fn json(&self) -> String {
        let Verdict { faults, made, seen, delivered, present, lost, doubted } = &self.verdict;
        let [passed, dropped, doubled] = self.packets;
        json!({
            "seed": self.seed, "plan": self.plan.text(), "faults": faults, "made": made,
            "seen": seen, "delivered": delivered, "present": present, "lost": lost,
            "doubted": doubted, "duplicates_refused": self.duplicates, "outlived": self.outlived,
            "unnoticed": self.unnoticed,
            "packets": { "passed": passed, "lost": dropped, "doubled": doubled },
            "arrive_ms": self.arrive.as_millis() as u64, "took_ms": self.took.as_millis() as u64,
        })
        .to_string()
    }
}

/// Sums all trials up in one line.
fn summary(trials: &[Trial]) -> String {
    let sum = |of: &dyn Fn(&Trial) -> u64| trials.iter().map(of).sum::<u64>();
    let bad: Vec<u64> = trials.iter().filter(|trial| !trial.is_good()).map(|t| t.seed).collect();
    let mut arrive: Vec<u128> = trials.iter().map(|trial| trial.arrive.as_millis()).collect();
    arrive.sort_unstable();
    let at = |part: usize| arrive.get(arrive.len() * part / 100).copied().unwrap_or(0);
    let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
    for (reason, events) in trials.iter().flat_map(|trial| &trial.verdict.lost) {
        *lost.entry(reason).or_default() += events;
    }
    format!(
        "{} seeds, {} wrong {bad:?}; {} events made, {} seen = {} delivered + {} lost {lost:?}; {} in \
         the journal, each once, {} of them unknown to the sensors; {} duplicates refused; {} brains \
         outlived a full disk; {} of {} packets lost, {} doubled; {} of {} spoiled journals noticed; \
         all arrived after {} ms (median), {} ms (99 %)",
        trials.len(),
        bad.len(),
        sum(&|t| t.verdict.made),
        sum(&|t| t.verdict.seen),
        sum(&|t| t.verdict.delivered),
        lost.values().sum::<u64>(),
        sum(&|t| t.verdict.present),
        sum(&|t| t.verdict.doubted),
        sum(&|t| t.duplicates),
        sum(&|t| t.outlived),
        sum(&|t| t.packets[1]),
        sum(&|t| t.packets[0] + t.packets[1]),
        sum(&|t| t.packets[2]),
        judge::CONTROLS as u64 * trials.len() as u64 - sum(&|t| t.unnoticed.len() as u64),
        judge::CONTROLS * trials.len(),
        at(50),
        at(99)
    )
}
