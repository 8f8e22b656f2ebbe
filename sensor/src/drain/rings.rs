//! The rings of records, and the programs' own log.

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use tracing::{debug, warn};

use super::{Drained, Record, record::Decoder, typed};
use crate::probe::{Maps, ProbeError};

/// Records read in one call. A storm that fills the rings as fast as they are read must not keep
/// the sensor from everything else; the rest is read by the next call.
const RECORDS_MAX: u64 = 65_536;

pub(super) struct Rings {
    /// The urgent one first.
    rings: [RingBuf<MapData>; 4],
    decoder: Decoder,
    log: Option<ProgramLog>,
}

impl Rings {
    pub(super) fn take(maps: &mut Maps, log: Option<ProgramLog>) -> Result<Self, ProbeError> {
        Ok(Self {
            rings: [
                typed(maps, "SECURITY")?,
                typed(maps, "PROCESS")?,
                typed(maps, "FILE")?,
                typed(maps, "PAYLOAD")?,
            ],
            decoder: Decoder::new(),
            log,
        })
    }

    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        self.rings.each_ref().map(AsFd::as_fd)
    }

    /// Security records first: they are few, and they matter one by one.
    pub(super) fn empty(&mut self, on: &mut dyn FnMut(Record<'_>)) -> Drained {
        let mut drained = Drained::default();
        for ring in &mut self.rings {
            for _ in 0..RECORDS_MAX {
                let Some(item) = ring.next() else {
                    break;
                };
                match self.decoder.decode(&item) {
                    Some(record) => {
                        drained.records += 1;
                        on(record);
                    }
                    None => drained.undecodable += 1,
                }
            }
        }
        drained.diagnostics = self.log.as_mut().map_or(0, ProgramLog::flush);
        drained
    }
}

/// The programs' own diagnostics, read where the programs were loaded.
pub(crate) struct ProgramLog {
    log: EbpfLogger<ToTracing>,
    logged: Arc<AtomicU64>,
}

impl ProgramLog {
    /// Takes the log of the programs; nothing, with a warning, when it cannot be read.
    pub(crate) fn take(programs: &mut Ebpf) -> Option<Self> {
        let logged = Arc::<AtomicU64>::default();
        let logger = ToTracing { lines: Arc::clone(&logged) };
        let log = EbpfLogger::init_with_logger(programs, logger)
            .inspect_err(|error| warn!(%error, "the programs' log cannot be read"))
            .ok()?;
        Some(Self { log, logged })
    }

    /// Hands what is there to the sensor's log, and returns how many lines it was.
    pub(crate) fn flush(&mut self) -> u64 {
        self.log.flush();
        self.logged.swap(0, Relaxed)
    }
}

impl fmt::Debug for ProgramLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProgramLog").finish_non_exhaustive()
    }
}

/// Hands the programs' diagnostics to the sensor's log.
#[derive(Debug)]
struct ToTracing {
    lines: Arc<AtomicU64>,
}

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.lines.fetch_add(1, Relaxed);
        debug!(target: "kernel", program = record.target(), "{}", record.args());
    }

    fn flush(&self) {}
}
