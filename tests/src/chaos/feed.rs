//! What stands in for the kernel: numbered events in a pipe that outlives the sensor as a ring
//! does, and counters of what was seen and what found no room.

use std::fs::File;
use std::io::{ErrorKind, PipeReader, PipeWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use sensor::ledger::{Events, KernelLosses, Signal};
use sensor_abi::loss::Loss;

use super::plan::Feed;

/// The signals that are fed, one for each lane: even events are of the first.
pub const SIGNALS: [Signal; 2] = [Signal::Exec, Signal::Exit];
/// Bytes of the ring: a sensor that is dead for a second or two loses some.
const RING: i32 = 4096;
/// Bytes of an event in the ring.
const EVENT: usize = 8;
/// Pause between two looks at how many events are due.
const PAUSE: Duration = Duration::from_millis(5);
/// Number of counters: seen, then lost, of each signal.
const COUNTERS: usize = 2 * SIGNALS.len();

/// Returns which of [`SIGNALS`] an event is of.
pub fn kind(id: u64) -> usize {
    (id % 2) as usize
}

/// The kernel's side.
#[derive(Debug)]
pub struct Kernel {
    reader: PipeReader,
    counters: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<[u64; COUNTERS]>>>,
}

impl Kernel {
    /// Starts to make events of one sensor. Their numbers begin with its number.
    pub fn start(counters: &Path, sensor: usize, feed: Feed) -> Result<Self> {
        let (reader, writer) = std::io::pipe().context("failed to make a pipe")?;
        for end in [reader.as_fd(), writer.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(RING))?;
        let stop = Arc::new(AtomicBool::new(false));
        let file = File::create(counters)?;
        file.write_all_at(&[0; COUNTERS * EVENT], 0)?;
        let (thread_stop, base) = (Arc::clone(&stop), (sensor as u64 + 1) << 32);
        let thread = std::thread::spawn(move || make(writer, &file, base, feed, &thread_stop));
        Ok(Self { reader, counters: counters.to_owned(), stop, thread: Some(thread) })
    }

    /// Returns the ring's end for a sensor that is started.
    pub fn ring(&self) -> Result<PipeReader> {
        self.reader.try_clone().context("failed to hand on the ring")
    }

    /// Where the counters are.
    pub fn counters(&self) -> &Path {
        &self.counters
    }

    /// Makes no more events, and returns how many of each signal there were. A sensor that has read
    /// the ring to its end then ends.
    pub fn stop(&mut self) -> Result<[u64; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("stopped twice")?;
        let counters = thread.join().map_err(|_| anyhow::anyhow!("the feed panicked"))??;
        Ok([counters[0], counters[1]])
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn make(
    mut writer: PipeWriter,
    file: &File,
    base: u64,
    feed: Feed,
    stop: &AtomicBool,
) -> Result<[u64; COUNTERS]> {
    let (begun, mut made, mut counters) = (Instant::now(), 0, [0; COUNTERS]);
    while !stop.load(Ordering::Relaxed) {
        let due = begun.elapsed().as_millis() as u64 * feed.per_second / 1000;
        while made < due {
            let id = base + made;
            let lost = match writer.write(&id.to_le_bytes()) {
                Ok(_) => false,
                Err(error) if error.kind() == ErrorKind::WouldBlock => true,
                Err(error) => return Err(error).context("failed to write to the ring"),
            };
            counters[kind(id)] += 1;
            counters[SIGNALS.len() + kind(id)] += u64::from(lost);
            made += 1;
        }
        // What is counted is in the ring by now, or lost: the ledger relies on it.
        file.write_all_at(&counters.map(u64::to_le_bytes).concat(), 0)?;
        std::thread::sleep(PAUSE);
    }
    Ok(counters)
}

/// The sensor's side: standard input is the ring.
#[derive(Debug)]
pub struct Ring {
    counters: File,
}

/// Events that were read, and whether there will be more.
pub type Taken = (Vec<u64>, bool);

impl Ring {
    /// Opens the counters.
    pub fn open(counters: &Path) -> Result<Self> {
        Ok(Self { counters: File::open(counters)? })
    }

    /// Returns what was seen and lost so far.
    pub fn counters(&self) -> Result<(Events, KernelLosses)> {
        let mut bytes = [0; COUNTERS * EVENT];
        self.counters.read_exact_at(&mut bytes, 0)?;
        let mut counts = bytes.chunks_exact(EVENT).map(number);
        let (mut seen, mut losses) = (Events::default(), [0; Loss::SLOTS]);
        for signal in SIGNALS {
            seen.count(signal, counts.next().unwrap_or(0));
        }
        for signal in SIGNALS {
            losses[Loss::RingFull.slot(signal)] = counts.next().unwrap_or(0);
        }
        Ok((seen, losses))
    }

    /// Empties the ring.
    pub fn take(&self) -> Result<Taken> {
        let mut bytes = [0; RING as usize];
        // Not through the buffer of `Stdin`, which would take more than it hands on.
        match nix::unistd::read(std::io::stdin(), &mut bytes) {
            // Events are written whole, and these bytes are room for whole ones.
            Ok(0) => Ok((Vec::new(), false)),
            Ok(len) => Ok((bytes[..len].chunks_exact(EVENT).map(number).collect(), true)),
            Err(Errno::EAGAIN) => Ok((Vec::new(), true)),
            Err(error) => Err(error).context("failed to read the ring"),
        }
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}
