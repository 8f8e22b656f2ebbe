//! The demo: a fleet of three hosts, a minute of its daily life, an attack, and what was found.
//!
//! # Reading order
//! [`stage`] (what is started), [`benign`] (what must stay quiet), [`attack`] (what is done),
//! [`expect`] (what must be found, and where), [`table`] (how it is shown).

pub mod attack;
pub mod benign;
pub mod expect;
pub mod stage;
pub mod table;

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use self::stage::Stage;
use crate::fleet::brain::console_address;
use crate::interrupt;

/// How long the findings may take after the last act; sensors send at least once a second.
const FINDINGS_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait for what should not be found, once all that should be is there.
const SETTLE: Duration = Duration::from_secs(2);
/// How long the alerts may take after their findings; the brain may send them one by one.
const ALERTS_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at what there is.
const PAUSE: Duration = Duration::from_millis(250);

/// What the demo is asked to do.
#[derive(Debug)]
pub struct Options {
    /// End once the findings are in.
    pub once: bool,
    /// Print one finding per line as JSON.
    pub json: bool,
    /// How long the benign traffic lasts.
    pub benign: Duration,
    /// Label of the fleet; only the one named `demo` takes the console's usual port.
    pub label: String,
}

/// Tells on standard error what happens, and when.
#[derive(Debug)]
pub struct Narrator {
    start: Instant,
}

impl Narrator {
    /// Starts the clock.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// Says one sentence.
    pub fn say(&self, text: impl AsRef<str>) {
        eprintln!("[{:5.1} s] {}", self.start.elapsed().as_secs_f64(), text.as_ref());
    }
}

impl Default for Narrator {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the demo; true when exactly the right things were found.
pub fn run(options: &Options) -> Result<bool> {
    let narrator = Narrator::new();
    let http = if options.label == "demo" {
        console_address()?
    } else {
        SocketAddr::from(([127, 0, 0, 1], 0))
    };
    let mut stage = Stage::new(&options.label, http, &narrator)?;
    let problems = play(&mut stage, options.benign, &narrator)?;
    show(&stage, options)?;
    for problem in &problems {
        narrator.say(format!("WRONG: {problem}"));
    }
    if problems.is_empty() {
        narrator.say("every act was found on its host with its process, and nothing else was");
    }
    let alerts = stage.sink.messages().len();
    narrator.say(format!("the webhook received {alerts} alerts"));
    if !options.once {
        stay(&mut stage, &narrator)?;
    }
    narrator.say("ending brain, sensors and hosts");
    drop(stage);
    narrator.say("nothing is left");
    Ok(problems.is_empty())
}

/// Benign traffic, the attack, and the judgement: a list of what went wrong.
pub fn play(stage: &mut Stage, benign: Duration, narrator: &Narrator) -> Result<Vec<String>> {
    narrator.say(format!("{} s of benign traffic: HTTP, DNS, pings, jobs", benign.as_secs()));
    benign::traffic(stage, benign)?;
    let mut problems: Vec<String> = stage
        .brain
        .findings()?
        .iter()
        .map(|finding| format!("benign traffic gave {}", expect::name(finding)))
        .collect();
    for act in attack::ACTS {
        narrator.say(format!("attack: {}", act.title));
        (act.run)(stage).with_context(|| format!("failed to attack: {}", act.title))?;
    }
    narrator.say("waiting for the findings");
    problems.extend(judge(stage)?);
    problems.extend(alerts(stage)?);
    Ok(problems)
}

/// Waits for one alert per act, in the form that Slack takes, or says what is missing.
fn alerts(stage: &Stage) -> Result<Option<String>> {
    let is_block_kit = |message: &Value| message["blocks"].is_array();
    let received = || stage.sink.messages().iter().filter(|message| is_block_kit(message)).count();
    let end = Instant::now() + ALERTS_LIMIT;
    while received() < attack::ACTS.len() && Instant::now() < end {
        interrupt::sleep(PAUSE)?;
    }
    let (received, acts) = (received(), attack::ACTS.len());
    Ok((received < acts).then(|| format!("the webhook received {received} alerts of {acts} acts")))
}

/// Waits until everything expected is found, then lists what is missing or should not be there.
pub fn judge(stage: &mut Stage) -> Result<Vec<String>> {
    let end = Instant::now() + FINDINGS_LIMIT;
    loop {
        stage.alive()?;
        if expect::missing(&stage.brain.findings()?).is_empty() {
            break;
        }
        if Instant::now() > end {
            break;
        }
        interrupt::sleep(PAUSE)?;
    }
    interrupt::sleep(SETTLE)?;
    let findings = stage.brain.findings()?;
    let mut problems = expect::missing(&findings);
    problems.extend(expect::unwanted(&findings));
    Ok(problems)
}

fn show(stage: &Stage, options: &Options) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if options.json {
        out.write_all(stage.brain.findings_text()?.as_bytes())?;
    } else {
        out.write_all(table::render(&stage.brain.findings()?).as_bytes())?;
        writeln!(out, "\nconsole: http://{}/", stage.brain.http())?;
        if let Some(link) = stage.brain.setup_link() {
            writeln!(out, "set-up link for your account: {link}")?;
        }
    }
    out.flush().context("failed to print the findings")
}

/// Keeps the fleet alive, with its benign traffic, until Ctrl-C.
fn stay(stage: &mut Stage, narrator: &Narrator) -> Result<()> {
    narrator.say("the fleet goes on with benign traffic; Ctrl-C ends it");
    while !interrupt::asked() {
        stage.alive()?;
        if let Err(error) = benign::traffic(stage, Duration::from_secs(1)) {
            return if interrupt::asked() { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}
