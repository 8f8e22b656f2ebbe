//! A fleet that loses its brain at one moment and comes back when it can, each sensor after delays
//! of its own: the sensor's own backoff, one session each.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use quinn::Endpoint;
use sensor::backoff::Backoff;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::fleet::{self, Brain};
use crate::load::{self, Identities};

/// All are back within this.
const GOAL: Duration = Duration::from_secs(60);

/// For how long the brain is away.
const AWAY: Duration = Duration::from_secs(10);

/// Whatever goes wrong ends by then.
const PATIENCE: Duration = Duration::from_secs(180);

/// Sockets that the sessions share.
const SOCKETS: usize = 8;

/// How a fleet came back.
#[derive(Clone, Debug)]
pub struct Herd {
    sensors: usize,
    /// Seconds from when the brain served again until sensors were back, in order.
    back_s: Vec<f64>,
    /// Attempts while it was away and afterwards.
    attempts: usize,
    /// Attempts after it served that were in vain.
    in_vain: usize,
    /// Processor time of the brain until all were back.
    cpu: Duration,
}

/// What sessions tell.
struct Told {
    back: mpsc::Sender<Instant>,
    attempts: AtomicUsize,
    failed: AtomicUsize,
}

impl Herd {
    /// Connects everyone, ends the brain, starts it again, and waits until all are back.
    pub fn measure(folder: &Path, sensors: usize) -> Result<Self> {
        let (data, list) = (folder.join("data"), folder.join("identities.json"));
        fleet::enrol(&data, sensors, &list)?;
        let identities: Identities = serde_json::from_slice(&std::fs::read(&list)?)?;
        let brain = Brain::start(folder, &data)?;
        tokio::runtime::Runtime::new()?
            .block_on(async {
                tokio::time::timeout(PATIENCE, scatter(folder, &data, brain, identities)).await
            })
            .context("the sensors did not come back")?
    }

    /// Whether all were back in time.
    pub fn is_met(&self) -> bool {
        self.back_s.len() == self.sensors && self.slowest_s() <= GOAL.as_secs_f64()
    }

    fn slowest_s(&self) -> f64 {
        self.back_s.last().copied().unwrap_or(f64::INFINITY)
    }

    fn at(&self, quantile: f64) -> f64 {
        let place = (self.back_s.len() as f64 * quantile) as usize;
        self.back_s.get(place).copied().unwrap_or_else(|| self.slowest_s())
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "bench": "herd", "sensors": self.sensors, "back_p50_s": self.at(0.5),
            "back_p99_s": self.at(0.99), "back_all_s": self.slowest_s(),
            "attempts": self.attempts, "in_vain": self.in_vain,
            "brain_cpu_s": self.cpu.as_secs_f64(), "met": self.is_met(),
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        format!(
            "{} sensors lose their brain for {} s: half are back {:.1} s after it serves, 99 % after \
             {:.1} s, all after {:.1} s; {} attempts, {} of them in vain once it served; {:.1} s of \
             the brain's processor time\ngoal {}: all within {} s",
            self.sensors,
            AWAY.as_secs(),
            self.at(0.5),
            self.at(0.99),
            self.slowest_s(),
            self.attempts,
            self.in_vain,
            self.cpu.as_secs_f64(),
            if self.is_met() { "met" } else { "MISSED" },
            GOAL.as_secs()
        )
    }
}

async fn scatter(
    folder: &Path,
    data: &Path,
    mut brain: Brain,
    identities: Identities,
) -> Result<Herd> {
    let address: SocketAddr = brain.quic().parse()?;
    let (sensors, identities) = (identities.certificates.len(), Arc::new(identities));
    let sockets: Vec<Endpoint> = (0..SOCKETS)
        .map(|_| Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
        .collect::<Result<_, _>>()?;
    let (back, mut returned) = mpsc::channel(SOCKETS);
    let told = Arc::new(Told { back, attempts: AtomicUsize::new(0), failed: AtomicUsize::new(0) });
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..sensors {
        let (socket, told) = (sockets[number % SOCKETS].clone(), Arc::clone(&told));
        let config = load::client(&identities, number)?;
        sessions.spawn(async move { live(&socket, &config, address, number, &told).await });
    }
    for _ in 0..sensors {
        returned.recv().await.context("the sessions ended")?;
    }
    told.attempts.store(0, Ordering::Relaxed);
    brain.end()?;
    tokio::time::sleep(AWAY).await;
    let brain = Brain::start_at(folder, data, &address.to_string())?;
    told.failed.store(0, Ordering::Relaxed);
    let begun = Instant::now();
    let mut back_s = Vec::with_capacity(sensors);
    for _ in 0..sensors {
        let at = returned.recv().await.context("the sessions ended")?;
        back_s.push(at.saturating_duration_since(begun).as_secs_f64());
    }
    let cpu = brain.processor_time()?;
    sessions.abort_all();
    ensure!(back_s.len() == sensors, "some did not come back");
    back_s.sort_by(f64::total_cmp);
    let (attempts, in_vain) =
        (told.attempts.load(Ordering::Relaxed), told.failed.load(Ordering::Relaxed));
    Ok(Herd { sensors, back_s, attempts, in_vain, cpu })
}

/// One sensor's sessions, one after the other.
async fn live(
    socket: &Endpoint,
    config: &quinn::ClientConfig,
    brain: SocketAddr,
    number: usize,
    told: &Told,
) {
    let mut backoff = Backoff::default();
    loop {
        told.attempts.fetch_add(1, Ordering::Relaxed);
        let once = async {
            let connecting = socket.connect_with(config.clone(), brain, wire::BRAIN_NAME)?;
            let connection = connecting.await?;
            let streams = load::begin(&connection, number).await?;
            anyhow::Ok((connection, streams))
        };
        match once.await {
            Ok((connection, _streams)) => {
                backoff.reset();
                if told.back.send(Instant::now()).await.is_err() {
                    return;
                }
                connection.closed().await;
            }
            Err(_) => {
                told.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}
