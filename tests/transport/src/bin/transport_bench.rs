//! Measures the transport: what `cargo xtask bench wire`, `ingest`, `fleet`, `restart` and
//! `herd` start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::Value;
use transport::fleet::{self, Plan};
use transport::herd::Herd;
use transport::ingest::{Contest, Frames};
use transport::load::{self, Pace};
use transport::mix::Load;
use transport::nats::Server;
use transport::parcel::Parcels;
use transport::restart::{self, Row};
use transport::size::{self, Size, Speed};

/// Hosts of each kind, and how many seconds of theirs are measured.
const USUAL: (std::ops::Range<u64>, usize) = (0..40, 120);
const BUSY: (std::ops::Range<u64>, usize) = (1_000..1_004, 60);

/// How long a fleet is measured.
const MEASURED: Duration = Duration::from_secs(15);

/// Sensors that send what they can, and how many batches of each are on the way.
const SENDERS: usize = 100;
const WINDOW: usize = 8;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures what the transport costs")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bytes of a record on the wire, and how fast batches are packed and unpacked.
    Wire {
        /// Print one row per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Take the batches of a brain's journal instead of made-up ones.
        #[arg(long, value_name = "DIR")]
        journal: Option<PathBuf>,
    },
    /// Batches on disk and acknowledged in a second, beside NATS JetStream.
    Ingest {
        /// Print one row per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// What sessions cost a brain, and how soon batches are acknowledged.
    Fleet {
        /// Print one row per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// How many sensors, several times.
        #[arg(long, default_values_t = [100, 1_000, 10_000])]
        sessions: Vec<usize>,
    },
    /// How long a brain takes to serve again, with a long journal and a large fleet behind it.
    Restart {
        /// Print the row as JSON instead of a line.
        #[arg(long)]
        json: bool,
        /// Hosts that the brain knows.
        #[arg(long, default_value_t = 10_000)]
        hosts: usize,
        /// Its journal, in MiB.
        #[arg(long, default_value_t = 1_024)]
        mib: u64,
    },
    /// How soon a fleet is back after its brain was away.
    Herd {
        /// Print the row as JSON instead of a line.
        #[arg(long)]
        json: bool,
        /// How many sensors.
        #[arg(long, default_value_t = 1_000)]
        sensors: usize,
    },
    /// The sensors of `fleet`, which it starts.
    #[command(hide = true)]
    Load {
        #[arg(long)]
        brain: SocketAddr,
        #[arg(long)]
        identities: PathBuf,
        #[arg(long)]
        seconds: u64,
        #[arg(long, default_value_t = 1.0)]
        batches_per_second: f64,
        #[arg(long)]
        window: Option<usize>,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Wire { json, journal } => wire(json, journal),
        What::Ingest { json } => ingest(json),
        What::Fleet { json, sessions } => fleet(json, &sessions),
        What::Restart { json, hosts, mib } => {
            let folder = restart::folder()?;
            let row = Row::measure(folder.path(), restart::Plan { hosts, bytes: mib << 20 })?;
            println!("{}", if json { row.to_json().to_string() } else { row.to_line() });
            ensure!(row.is_met(), "a restart takes too long, or findings differ");
            Ok(())
        }
        What::Herd { json, sensors } => {
            let herd = Herd::measure(restart::folder()?.path(), sensors)?;
            println!("{}", if json { herd.to_json().to_string() } else { herd.to_line() });
            ensure!(herd.is_met(), "the fleet takes too long to come back");
            Ok(())
        }
        What::Load { brain, identities, seconds, batches_per_second, window } => {
            let pace = window.map_or(Pace::PerSecond(batches_per_second), Pace::Window);
            load::run(brain, &identities, pace, Duration::from_secs(seconds))
        }
    }
}

fn ingest(json: bool) -> Result<()> {
    let parcels = Parcels::of_hosts(0..1, Load::Usual, 480);
    let frames = Arc::new(Frames::of(&parcels)?);
    let folder = tempfile::tempdir()?;
    let server = Server::start(&folder.path().join("nats"))?;
    if server.is_none() {
        eprintln!("skipped: NATS JetStream, of which the package nats-server is not installed");
    }
    let contest = Contest::run(folder.path(), &frames, server.as_ref())?;
    match json {
        true => contest.to_json().iter().for_each(|row| println!("{row}")),
        false => contest.to_lines().iter().for_each(|line| println!("{line}")),
    }
    Ok(())
}

/// Fleets of several sizes with a batch a second each; then as much as gets through, and half.
fn fleet(json: bool, sizes: &[usize]) -> Result<()> {
    let tell = |(value, line): (Value, String)| match json {
        true => println!("{value}"),
        false => println!("{line}"),
    };
    let measure = |name: &str, sessions, pace| -> Result<fleet::Row> {
        let folder = tempfile::tempdir()?;
        let plan = Plan { sessions, pace, time: MEASURED };
        let row = fleet::Row::measure(name, folder.path(), plan)?;
        tell((row.to_json(), row.to_line()));
        Ok(row)
    };
    if !json {
        println!("{}", fleet::heading());
    }
    let mut largest = None;
    for &sessions in sizes {
        largest = Some(measure("one a second", sessions, Pace::PerSecond(1.0))?);
    }
    let full = measure("full load", SENDERS, Pace::Window(WINDOW))?;
    let half = full.batches_per_second() / 2.0 / SENDERS as f64;
    let half = measure("half load", SENDERS, Pace::PerSecond(half))?;
    largest.iter().for_each(|row| tell(row.memory_goal()));
    tell(full.rate_goal());
    tell(half.ack_goal());
    Ok(())
}

fn wire(json: bool, journal: Option<PathBuf>) -> Result<()> {
    let tell = |value: Value, line: String| match json {
        true => println!("{value}"),
        false => println!("{line}"),
    };
    let kinds = match journal {
        Some(folder) => vec![("journal", Parcels::of_journal(&folder)?)],
        None => vec![
            ("usual host", Parcels::of_hosts(USUAL.0, Load::Usual, USUAL.1)),
            ("busy host", Parcels::of_hosts(BUSY.0, Load::Busy, BUSY.1)),
        ],
    };
    ensure!(kinds.iter().any(|(_, parcels)| !parcels.whole.is_empty()), "there are no batches");
    if !json {
        println!("{}", size::heading());
    }
    if let [(_, usual), ..] = kinds.as_slice() {
        for (signal, batches) in &usual.by_signal {
            let size = Size::measure(signal, batches)?;
            tell(size.to_json(), size.to_line());
        }
    }
    let mut goals = Vec::new();
    for (kind, parcels) in &kinds {
        let size = Size::measure(kind, &parcels.whole)?;
        tell(size.to_json(), size.to_line());
        goals.extend(size.goals());
    }
    for (kind, parcels) in &kinds {
        let speed = Speed::measure(kind, &parcels.whole)?;
        tell(speed.to_json(), speed.to_line());
    }
    goals.into_iter().for_each(|(value, line)| tell(value, line));
    Ok(())
}
