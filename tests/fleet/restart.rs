//! The brain is killed in the middle of the attack: nothing is found twice, nothing is missing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::demo::stage::Stage;
use tests::demo::{self, Narrator, attack, benign, expect};
use tests::interrupt;

/// Acts before the kill; the first of them makes findings that must survive it.
const ACTS_BEFORE: usize = 2;
/// Time for the first act to be found.
const FOUND_LIMIT: Duration = Duration::from_secs(20);
/// How long the brain stays away while the attack goes on.
const AWAY: Duration = Duration::from_secs(3);

/// Compares a run whose brain is killed with what the attack must give.
pub fn brain_killed_mid_attack() -> Result<()> {
    let narrator = Narrator::new();
    let http = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut stage = Stage::new("test-restart", http, &narrator)?;
    benign::traffic(&stage, Duration::from_secs(2))?;
    let (before, after) = attack::ACTS.split_at(ACTS_BEFORE);
    for act in before {
        (act.run)(&stage).context(act.title)?;
    }
    let known = interrupt::eventually("a first finding", FOUND_LIMIT, || {
        let findings = stage.brain.findings()?;
        Ok((!findings.is_empty()).then_some(findings))
    })?;
    stage.brain.kill()?;
    for act in after {
        (act.run)(&stage).context(act.title)?;
    }
    interrupt::sleep(AWAY)?;
    stage.brain.restart()?;
    stage.wait_online()?;
    let problems = demo::judge(&mut stage)?;
    ensure!(problems.is_empty(), "after the restart: {problems:?}");
    let findings = stage.brain.findings()?;
    for finding in &known {
        let same = findings.iter().filter(|other| other["id"] == finding["id"]).count();
        ensure!(same == 1, "{} is there {same} times after the restart", expect::name(finding));
    }
    a_second_kill_changes_nothing(&mut stage, &findings)
}

/// With nothing new happening, replaying the journal gives the very same findings.
fn a_second_kill_changes_nothing(stage: &mut Stage, findings: &[Value]) -> Result<()> {
    stage.brain.kill()?;
    stage.brain.restart()?;
    stage.wait_online()?;
    let again = stage.brain.findings()?;
    let ids = |findings: &[Value]| {
        let mut ids: Vec<String> =
            findings.iter().map(|finding| finding["id"].to_string()).collect();
        ids.sort();
        ids
    };
    ensure!(
        ids(findings) == ids(&again),
        "before {:?}, after {:?}",
        expect::shape(findings),
        expect::shape(&again)
    );
    Ok(())
}
