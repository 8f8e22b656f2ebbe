//! Every row of the catalogue that one host can show, acted out for real on this kernel, and beside
//! each a benign twin: what `cargo xtask eval runtime` runs.
//!
//! One brain, one sensor that watches one host of the fleet. An act is a script that runs in that
//! host's cgroup and network, or in a container's cgroup below it; whatever it changes lies in a
//! scratch folder or in mounts that end with it. What an act gave is told by comparing the findings
//! before and after it.
//!
//! # Reading order
//! [`table`] (what is done and what must be found), [`stage`] (where), [`report`] (how it is told).

pub mod report;
pub mod stage;
pub mod table;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use self::report::{Outcome, Report};
use self::stage::Stage;
use self::table::{Act, SHORT};
use crate::interrupt;

/// How long an act's finding may take: sensors send once a second, some detections wait, and what
/// may stretch over several hosts waits for them.
const FOUND_LIMIT: Duration = Duration::from_secs(30);
/// How long to look on once it is there: for it to come twice, and for others.
const SETTLE: Duration = Duration::from_millis(1_200);
/// How long to look for what should not be found.
const QUIET: Duration = Duration::from_millis(2_500);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Which acts to run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only a few, for a trial.
    pub short: bool,
    /// Only rows whose name has this in it, and their twins.
    pub only: Option<String>,
    /// Tells fleets apart that run at the same time.
    pub label: String,
}

/// Runs the twins of the wanted acts, then the acts, and returns what came of each. Twins come
/// first: what they raise, and how bad it is, is then told from what an act raised before.
pub fn run(options: &Options) -> Result<Report> {
    let mut stage = Stage::new(&options.label)?;
    let wanted = |act: &Act| {
        (!options.short || SHORT.contains(&act.name))
            && options.only.as_ref().is_none_or(|only| act.name.contains(only.as_str()))
    };
    let acts: Vec<Act> = table::acts().into_iter().filter(wanted).collect();
    let of_acts = |twin: &Act| acts.iter().any(|act| act.twin == twin.name);
    let twins = table::twins().into_iter().filter(of_acts);
    let mut report = Report::default();
    for act in twins.chain(acts.iter().copied()) {
        let outcome = perform(&mut stage, &act)
            .with_context(|| format!("`{}` could not be performed", act.name))?;
        report.add(act, outcome);
    }
    Ok(report)
}

fn perform(stage: &mut Stage, act: &Act) -> Result<Outcome> {
    if let Some(why) = act.skip {
        return Ok(Outcome::Skipped(why.to_owned()));
    }
    if let Some(missing) = act.needs.iter().find(|program| !stage::exists(program)) {
        return Ok(Outcome::Skipped(format!("needs {missing}")));
    }
    let before = stage.findings()?;
    let start = Instant::now();
    let failure = stage.perform(act)?;
    let mut end = Instant::now() + if act.finds.is_empty() { QUIET } else { FOUND_LIMIT };
    let mut found = None;
    let raised = loop {
        interrupt::sleep(PAUSE)?;
        stage.alive()?;
        let raised = report::raised(&before, &stage.findings()?);
        let has = |kind: &&str| raised.iter().any(|one| one.kind == **kind);
        if found.is_none() && !act.finds.is_empty() && act.finds.iter().all(has) {
            found = Some(start.elapsed());
            end = Instant::now() + SETTLE;
        }
        if Instant::now() >= end {
            break raised;
        }
    };
    Ok(Outcome::Ran { raised, failure, found })
}
