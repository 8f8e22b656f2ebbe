//! The rings of records, and the programs' own log.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use aya_log::EbpfLogger;
use tracing::{debug, warn};

use super::{Drained, Record, record::Decoder, typed};
use crate::probe::ProbeError;

/// Records read in one call. A storm that fills the rings as fast as they are read must not keep
/// the sensor from everything else; the rest is read by the next call.
const RECORDS_MAX: u64 = 65_536;

pub(super) struct Rings {
    /// The urgent one first.
    rings: [RingBuf<MapData>; 4],
    decoder: Decoder,
    log: Option<EbpfLogger<ToTracing>>,
    logged: Arc<AtomicU64>,
}

impl Rings {
    pub(super) fn take(programs: &mut Ebpf, kernel_log: bool) -> Result<Self, ProbeError> {
        let logged = Arc::<AtomicU64>::default();
        let logger = ToTracing { lines: Arc::clone(&logged) };
        let log = kernel_log.then(|| EbpfLogger::init_with_logger(programs, logger));
        let log = log.and_then(|log| {
            log.inspect_err(|error| warn!(%error, "the programs' log cannot be read")).ok()
        });
        Ok(Self {
            rings: [
                typed(programs, "SECURITY")?,
                typed(programs, "PROCESS")?,
                typed(programs, "FILE")?,
                typed(programs, "PAYLOAD")?,
            ],
            decoder: Decoder::new(),
            log,
            logged,
        })
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
        if let Some(log) = &mut self.log {
            log.flush();
        }
        drained.diagnostics = self.logged.swap(0, Relaxed);
        drained
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
