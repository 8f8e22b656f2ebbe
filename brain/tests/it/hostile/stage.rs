//! A brain under attack, and an honest sensor whose waiting is measured with and without.

use std::sync::Arc;
use std::time::{Duration, Instant};

use brain::ca::Ca;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use quinn::SendStream;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec;

use crate::brain::{Program, within};
use crate::sensor::{Identity, Session, enrol};

/// Batches of the honest sensor in each measurement.
const SAMPLES: usize = 100;

/// Time between two of them, so that they see what comes and goes: half a second in all.
const PACE: Duration = Duration::from_millis(5);

/// Below this a normal p99 says more about the machine than about the brain: a sync of the disk
/// and some turns of a scheduler with two processors and a dozen other tests.
const NORMAL_MIN: Duration = Duration::from_millis(25);

/// Pairs of measurements of which one has to be good. What others do on the machine comes and
/// goes; what the attack does stays.
const ROUNDS: usize = 5;

/// The machine is shared by one attack at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A brain with an honest sensor.
pub struct Stage {
    pub brain: Program,
    pub honest: Honest,
    pub data: TempDir,
    alone: Option<MutexGuard<'static, ()>>,
}

impl Stage {
    pub async fn set() -> Self {
        Self::with("").await
    }

    /// Sets one up whose brain has these settings.
    pub async fn with(settings: &str) -> Self {
        let alone = ALONE.lock().await;
        let data = tempfile::tempdir().unwrap();
        let brain = start(&data, settings);
        let honest = Honest::join(&brain).await;
        Self { brain, honest, data, alone: Some(alone) }
    }

    /// Lets the next stage be set: from here on nothing is measured.
    pub fn is_measured(&mut self) {
        self.alone = None;
    }

    /// Enrols hosts that turn hostile.
    pub async fn hosts(&self, count: u32) -> Vec<Arc<Identity>> {
        let token = self.brain.access.join_token(count, 600).await;
        let mut hosts = Vec::new();
        for number in 0..count {
            let host = enrol(self.brain.access.quic, &token, &format!("bad-{number}")).await;
            hosts.push(Arc::new(host.unwrap()));
        }
        hosts
    }

    /// Returns the brain's own CA, to issue what the brain itself would not.
    pub fn ca(&self) -> Ca {
        Ca::open(&self.data.path().join("ca"), brain::clock::now_ns()).unwrap()
    }

    /// Waits until something was refused for a reason; returns how often.
    pub async fn refused(&self, reason: &str, patience: Duration) -> u64 {
        let access = &self.brain.access;
        let some = async || Some(access.refused(reason).await).filter(|count| *count > 0);
        within(patience, reason, some).await
    }

    /// Measures the honest sensor alone and beside an attack, which goes on until it is stopped.
    ///
    /// # Panics
    /// When the honest sensor waits more than twice as long in every round.
    pub async fn beside<A>(&mut self, attack: impl Fn() -> A) -> Waits
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let judged = self.judge(attack).await;
        judged.unwrap_or_else(|waits| panic!("the honest sensor waits: {waits}"))
    }

    /// Likewise, and returns the last waits as an error when none were good.
    pub async fn judge<A>(&mut self, attack: impl Fn() -> A) -> Result<Waits, Waits>
    where
        A: Future<Output = ()> + Send + 'static,
    {
        let mut last = None;
        for _ in 0..ROUNDS {
            let normal = self.honest.p99().await;
            let going_on = tokio::spawn(attack());
            let attacked = self.honest.p99().await;
            going_on.abort();
            if let Err(error) = going_on.await {
                assert!(error.is_cancelled(), "the attack failed: {error}");
            }
            let waits = Waits { normal, attacked };
            if attacked <= 2 * normal.max(NORMAL_MIN) {
                return Ok(waits);
            }
            last = Some(waits);
        }
        Err(last.unwrap())
    }
}

fn start(data: &TempDir, settings: &str) -> Program {
    let config = data.path().join("brain.toml");
    std::fs::write(&config, settings).unwrap();
    Program::start(data.path(), &["--config", config.to_str().unwrap(), "--no-setup-link"])
}

/// How long the honest sensor waited, at the 99th percentile.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    pub normal: Duration,
    pub attacked: Duration,
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (attacked, normal) = (ms(self.attacked), ms(self.normal));
        write!(f, "an honest sensor's p99 {attacked:.1} ms, {normal:.1} ms without")
    }
}

/// A sensor that keeps to the protocol.
pub struct Honest {
    session: Session,
    lane: SendStream,
    /// Batches that it has sent, and their bytes.
    pub seq: u64,
    pub bytes: u64,
}

impl Honest {
    pub async fn join(brain: &Program) -> Self {
        let token = brain.access.join_token(1, 600).await;
        let identity = enrol(brain.access.quic, &token, "honest").await.unwrap();
        let session = Session::begin(brain.access.quic, &identity, 1).await;
        let lane = session.connection.open_uni().await.unwrap();
        Self { session, lane, seq: 0, bytes: 0 }
    }

    /// Delivers one batch after the other; returns how long the slow ones took.
    pub async fn p99(&mut self) -> Duration {
        let mut waits = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            waits.push(self.deliver().await);
            tokio::time::sleep(PACE).await;
        }
        waits.sort();
        waits[SAMPLES * 99 / 100 - 1]
    }

    /// Delivers a batch; returns how long it took.
    pub async fn deliver(&mut self) -> Duration {
        self.seq += 1;
        let position = Position { epoch: 1, lane: Lane::Security, seq: self.seq };
        let batch = Batch::empty(position, Clock { boot_ns: 1, unix_ns: brain::clock::now_ns() });
        let frame = codec::encode_batch(&batch).unwrap();
        self.bytes += frame.len() as u64;
        let begun = Instant::now();
        self.lane.write_all(&frame).await.unwrap();
        assert_eq!(self.session.acknowledged().await, Some(position));
        begun.elapsed()
    }
}

/// A process that is stopped until this is dropped, as when the attack ends in the middle of it.
struct Standing(Pid);

impl Standing {
    fn still(pid: Pid) -> Self {
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The known-bad run: a brain that really stands still now and then must be found out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_brain_that_stands_still_is_found_to_keep_the_honest_waiting() {
    let mut stage = Stage::set().await;
    let pid = Pid::from_raw(stage.brain.pid().cast_signed());
    let attack = move || async move {
        loop {
            let standing = Standing::still(pid);
            tokio::time::sleep(Duration::from_millis(150)).await;
            drop(standing);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waits = stage
        .judge(attack)
        .await
        .expect_err("the judgement does not see that a brain stands still");
    println!(
        "figure T-control: a brain that is stopped for 150 ms at a time is found out: {waits}"
    );
}
