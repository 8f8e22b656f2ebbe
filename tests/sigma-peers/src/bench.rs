//! How many events a second one core decides, and what rules cost to load and to hold: our engine
//! and its peers, the same rules, the same events.
//!
//! Speeds are of one process, the engines in turns, so that whatever else the machine does hits
//! all of them. What rules take is weighed in a process of its own for each engine, since memory
//! that one gave back is what the next one uses.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::corpus::Sample;
use crate::rules::RuleFile;
use crate::vary;

mod subject;

pub use subject::Engine;

/// Turns that each engine has.
const ROUNDS: usize = 5;

/// A turn ends after this time, wherever in the corpus it is.
const TURN: Duration = Duration::from_millis(1_000);

/// Events that the slowest engine is shown in a turn at least.
const EVENTS_MIN: usize = 64;

/// What rules cost one engine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Weight {
    /// Rules that it took.
    pub rules: usize,
    /// Reading and compiling them.
    pub load_ms: u64,
    /// Memory that they take.
    pub bytes: u64,
}

/// What one engine did with one number of rules.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The engine.
    pub engine: &'static str,
    /// Rules that it took, and what they cost.
    pub weight: Weight,
    /// Events decided in the best turn, a second.
    pub best: f64,
    /// In the median one.
    pub median: f64,
    /// Events of the last turn, which is one pass over the corpus or as much as there was time for.
    pub events: usize,
    /// Matches among them.
    pub matches: u64,
    /// On how many of them other rules, by number, match than ours do on the same JSON.
    pub differ: usize,
}

/// Returns so many varied copies of the rules, or, when `rules` is not 0, so many rules.
pub fn texts(files: &[RuleFile], copies: usize, rules: usize) -> Vec<String> {
    let copy = |copy: usize| files.iter().filter_map(move |file| vary::varied(&file.text, copy));
    match rules {
        0 => (0..copies).flat_map(copy).collect(),
        // A folder without a single rule has no copies either.
        _ => (0..rules).flat_map(copy).take(rules).collect(),
    }
}

/// Loads the rules into an engine of this process and weighs them.
pub fn weigh(engine: Engine, texts: &[String]) -> Result<Weight> {
    let (before, start) = (resident()?, Instant::now());
    let subject = engine.load(texts);
    let load_ms = start.elapsed().as_millis() as u64;
    let bytes = resident()?.saturating_sub(before);
    Ok(Weight { rules: subject.rules(), load_ms, bytes })
}

/// Has a process of its own weigh; `arguments` tell it which rules.
pub fn weigh_apart(engine: Engine, arguments: &[String]) -> Result<Weight> {
    let this = std::env::current_exe().context("failed to find this program")?;
    let mut weigh = Command::new(this);
    let output = weigh.args(["--weigh", engine.key()]).args(arguments).output();
    let output = output.context("failed to weigh in a process of its own")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the weight cannot be read")
}

/// Measures the speed of engines, in turns; their weight is still to be filled in.
pub fn measure(engines: &[Engine], texts: &[String], corpus: &[Sample]) -> Result<Vec<Row>> {
    let mut subjects: Vec<_> = engines.iter().map(|engine| engine.load(texts)).collect();
    let mut speeds = vec![Vec::new(); engines.len()];
    let mut decided: Vec<Vec<u32>> = vec![Vec::new(); engines.len()];
    for _ in 0..ROUNDS {
        for ((subject, speeds), decided) in subjects.iter_mut().zip(&mut speeds).zip(&mut decided) {
            decided.clear();
            let start = Instant::now();
            for (at, sample) in corpus.iter().enumerate() {
                if at % EVENTS_MIN == 0 && at > 0 && start.elapsed() > TURN {
                    break;
                }
                decided.push(subject.decide(at, sample));
            }
            speeds.push(decided.len() as f64 / start.elapsed().as_secs_f64());
        }
    }
    let is_reference = |engine: &Engine| *engine == Engine::Objects;
    let reference = engines.iter().position(is_reference).unwrap_or(0);
    let row = |(at, engine): (usize, &Engine)| {
        let mut speeds = speeds[at].clone();
        speeds.sort_by(f64::total_cmp);
        let matches = decided[at].iter().map(|matches| u64::from(*matches)).sum();
        Row {
            engine: engine.name(),
            weight: Weight { rules: subjects[at].rules(), ..Weight::default() },
            best: speeds[speeds.len() - 1],
            median: speeds[speeds.len() / 2],
            events: decided[at].len(),
            matches,
            differ: differing(&decided[reference], &decided[at]),
        }
    };
    Ok(engines.iter().enumerate().map(row).collect())
}

/// Returns on how many of the events that both saw the numbers of matches differ.
fn differing(ours: &[u32], theirs: &[u32]) -> usize {
    ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs).count()
}

impl Row {
    /// Returns the row as a line of a table, with `of` as the row that is compared with.
    pub fn to_line(&self, of: &Row) -> String {
        let per_1000 = self.weight.bytes / 1024 * 1000 / self.weight.rules.max(1) as u64;
        format!(
            "{:<28} {:>6} {:>9} {:>10} {:>11.0} {:>11.0} {:>9} {:>7} {:>7} {:>7}",
            self.engine,
            self.weight.rules,
            format!("{} ms", self.weight.load_ms),
            format!("{per_1000} KiB"),
            self.best,
            self.median,
            format!("1/{:.1}", of.best / self.best),
            self.matches,
            self.events,
            self.differ,
        )
    }
}

/// Returns the heading of the table.
pub fn heading() -> String {
    format!(
        "{:<28} {:>6} {:>9} {:>10} {:>11} {:>11} {:>9} {:>7} {:>7} {:>7}",
        "engine",
        "rules",
        "load",
        "per 1000",
        "best ev/s",
        "median ev/s",
        "of ours",
        "matches",
        "events",
        "differ"
    )
}

/// Returns the bytes of memory that the process holds.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status").context("failed to read memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.context("failed to read memory")? * 1024)
}
