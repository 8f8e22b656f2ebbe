//! Bytes of the journal's records.
//!
//! ```text
//! len u32 | crc32c u32 | kind u8 | index u64 | received u64 | …
//! ```
//! Integers are little-endian; `len` counts what follows the checksum. The checksum also covers the
//! segment's random number and the record's place in it, so that bytes a sensor put into a frame
//! can never be taken for a record when a damaged part is skipped.

use wire::batch::{Lane, Position};

use super::highwater::Place;
use crate::identity::SensorId;

/// Bytes before a record's content.
pub(super) const HEAD_LEN: usize = 8;

/// Bytes of kind, index and time.
const COMMON_LEN: usize = 17;

/// Longest content: a frame with its description, or the marks of tens of thousands of sensors.
const CONTENT_MAX: usize = 64 << 20;

const KIND_BATCH: u8 = 1;
const KIND_HIGH_WATER: u8 = 2;
const KIND_DECISION: u8 = 3;
const KIND_CORRECTED_BATCH: u8 = 4;

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts records from 1.
    pub index: u64,
    /// When it was written.
    pub received_ns: u64,
    /// What it holds.
    pub payload: Payload,
}

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// A batch.
    Batch {
        /// Whose.
        sensor: SensorId,
        /// Which.
        position: Position,
        /// What its times must be moved by, for the host's clock was wrong.
        correction_ns: i64,
        /// As it arrived.
        frame: Vec<u8>,
    },
    /// What was on disk when the segment began.
    HighWater(Vec<(Place, u64)>),
    /// A decision, as JSON.
    Decision(Vec<u8>),
}

/// What ties a record to its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    pub(super) nonce: u64,
    pub(super) offset: u64,
}

impl Seal {
    fn crc(self, content: &[u8]) -> u32 {
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.nonce.to_le_bytes());
        seed[8..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&seed), content)
    }
}

/// Appends a record's bytes to `out`, of which byte 0 will be at `seal.offset - out.len()`.
pub(super) fn write(out: &mut Vec<u8>, seal: Seal, entry: &Entry) {
    let start = out.len();
    let kind = match &entry.payload {
        Payload::Batch { correction_ns: 0, .. } => KIND_BATCH,
        Payload::Batch { .. } => KIND_CORRECTED_BATCH,
        Payload::HighWater(_) => KIND_HIGH_WATER,
        Payload::Decision(_) => KIND_DECISION,
    };
    // Length and checksum follow when the content is there.
    out.extend_from_slice(&[0; HEAD_LEN]);
    out.push(kind);
    out.extend_from_slice(&entry.index.to_le_bytes());
    out.extend_from_slice(&entry.received_ns.to_le_bytes());
    match &entry.payload {
        Payload::Batch { sensor, position, correction_ns, frame } => {
            write_mark(out, Place::of(*sensor, *position), position.seq);
            if *correction_ns != 0 {
                out.extend_from_slice(&correction_ns.to_le_bytes());
            }
            out.extend_from_slice(frame);
        }
        Payload::HighWater(marks) => {
            for (place, seq) in marks {
                write_mark(out, *place, *seq);
            }
        }
        Payload::Decision(json) => out.extend_from_slice(json),
    }
    let (head, content) = out[start..].split_at_mut(HEAD_LEN);
    head[..4].copy_from_slice(&(content.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&seal.crc(content).to_le_bytes());
}

/// Reads the record at the start of `bytes`; returns it with its length.
pub(super) fn read(bytes: &[u8], seal: Seal) -> Option<(Entry, usize)> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_LEN>()?;
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if !(COMMON_LEN..=CONTENT_MAX).contains(&len) {
        return None;
    }
    let content = rest.get(..len)?;
    // The cheap look comes first: a search through a damaged part asks at every byte.
    if !(KIND_BATCH..=KIND_CORRECTED_BATCH).contains(&content[0]) {
        return None;
    }
    let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if seal.crc(content) != crc {
        return None;
    }
    let (&kind, mut content) = content.split_first()?;
    let index = take_u64(&mut content)?;
    let received_ns = take_u64(&mut content)?;
    let payload = match kind {
        KIND_BATCH | KIND_CORRECTED_BATCH => {
            let (Place { sensor, epoch, lane }, seq) = take_mark(&mut content)?;
            let position = Position { epoch, lane, seq };
            let correction_ns = match kind {
                KIND_BATCH => 0,
                _ => take_u64(&mut content)?.cast_signed(),
            };
            Payload::Batch { sensor, position, correction_ns, frame: content.to_vec() }
        }
        KIND_HIGH_WATER => {
            let mut marks = Vec::new();
            while !content.is_empty() {
                marks.push(take_mark(&mut content)?);
            }
            Payload::HighWater(marks)
        }
        _ => Payload::Decision(content.to_vec()),
    };
    Some((Entry { index, received_ns, payload }, HEAD_LEN + len))
}

fn write_mark(content: &mut Vec<u8>, place: Place, seq: u64) {
    content.extend_from_slice(&place.sensor.0);
    content.extend_from_slice(&place.epoch.to_le_bytes());
    content.push(place.lane as u8);
    content.extend_from_slice(&seq.to_le_bytes());
}

fn take_mark(content: &mut &[u8]) -> Option<(Place, u64)> {
    let (sensor, rest) = content.split_first_chunk()?;
    *content = rest;
    let epoch = take_u64(content)?;
    let (&lane, rest) = content.split_first()?;
    *content = rest;
    let lane = *Lane::ALL.iter().find(|known| **known as u8 == lane)?;
    let seq = take_u64(content)?;
    Some((Place { sensor: SensorId(*sensor), epoch, lane }, seq))
}

fn take_u64(content: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = content.split_first_chunk()?;
    *content = rest;
    Some(u64::from_le_bytes(*bytes))
}
