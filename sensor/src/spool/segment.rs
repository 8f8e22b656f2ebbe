//! A run of encoded frames, end to end, in a file or in memory.
//!
//! ```text
//!  0     4        8     16                72
//!  | len | crc32c | seq | events of 7 signals | frame (len bytes) …
//! ```
//! Integers are little-endian; the checksum covers everything after it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use wire::codec::HEADER_LEN;
use wire::limits::FRAME_MAX;

use crate::ledger::Events;

/// Bytes before each frame.
pub const ENTRY_HEADER: usize = 16 + 8 * Events::LEN;
/// Longest frame that is believed when a file is read back.
const FRAME_LEN_MAX: usize = FRAME_MAX + HEADER_LEN;
/// Highest sequence number that is believed: no sensor sends so many batches, and there is always
/// a next one.
pub const SEQ_MAX: u64 = u64::MAX / 2;

/// What stands before a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the lane's sequence.
    pub seq: u64,
    /// Events that it carries.
    pub events: Events,
    len: u32,
    crc: u32,
}

#[derive(Debug)]
enum Store {
    File(File, PathBuf),
    Memory(Vec<u8>),
}

/// Frames of one epoch and lane with ascending sequence numbers.
#[derive(Debug)]
pub struct Segment {
    store: Store,
    /// Bytes written.
    pub len: u64,
    /// Lowest and highest sequence number written, 0 before any. There are no gaps between.
    pub first: u64,
    /// See `first`.
    pub last: u64,
    /// Events that the brain does not have.
    waiting: Events,
    /// The next entry that the brain does not have.
    acked: Place,
    /// The next entry to send.
    sent: Place,
}

/// Between two entries.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    offset: u64,
    /// Sequence number of the entry before, 0 at the start.
    seq: u64,
}

impl Segment {
    /// Makes an empty file; one that exists already is an error.
    pub fn create(path: PathBuf) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self::new(Store::File(file, path)))
    }

    /// Makes an empty segment in memory.
    pub fn in_memory() -> Self {
        Self::new(Store::Memory(Vec::new()))
    }

    fn new(store: Store) -> Self {
        Self {
            store,
            len: 0,
            first: 0,
            last: 0,
            waiting: Events::default(),
            acked: Place::default(),
            sent: Place::default(),
        }
    }

    /// Opens a file of an earlier start and cuts off what is not whole. Returns the number of bytes
    /// cut off as well.
    pub fn recover(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).append(true).open(path)?;
        let full = file.metadata()?.len();
        let mut segment = Self::new(Store::File(file, path.to_owned()));
        segment.len = full;
        let mut offset = 0;
        while let Ok(Some((entry, frame))) = segment.read(offset) {
            let follows = segment.last == 0 || entry.seq == segment.last + 1;
            if !follows || !(1..=SEQ_MAX).contains(&entry.seq) {
                break;
            }
            offset += (ENTRY_HEADER + frame.len()) as u64;
            segment.wrote(entry.seq, &entry.events);
        }
        segment.len = offset;
        if let Store::File(file, _) = &segment.store {
            file.set_len(offset)?;
        }
        Ok((segment, full - offset))
    }

    /// Returns whether the frames are only in memory.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.store, Store::Memory(_))
    }

    /// Returns whether the brain has all of it.
    pub fn is_acknowledged(&self) -> bool {
        self.acked.offset >= self.len
    }

    /// Returns whether there is something to send.
    pub fn has_unsent(&self) -> bool {
        self.sent.offset < self.len
    }

    /// Highest sequence number sent, 0 when none.
    pub fn last_sent(&self) -> u64 {
        self.sent.seq
    }

    /// Appends a frame. After an error the segment is as it was.
    pub fn append(&mut self, seq: u64, events: &Events, frame: &[u8]) -> io::Result<()> {
        let bytes = encode(seq, events, frame);
        match &mut self.store {
            Store::Memory(memory) => memory.extend_from_slice(&bytes),
            Store::File(file, _) => {
                if let Err(error) = file.write_all(&bytes) {
                    // Part of it may have been written; a torn tail would be cut at recovery, but
                    // what is appended after it would be cut as well.
                    file.set_len(self.len)?;
                    return Err(error);
                }
            }
        }
        self.len += bytes.len() as u64;
        self.wrote(seq, events);
        Ok(())
    }

    fn wrote(&mut self, seq: u64, events: &Events) {
        if self.first == 0 {
            self.first = seq;
        }
        self.last = seq;
        self.waiting.add(events);
    }

    /// Returns the next frame to send, and passes it.
    pub fn next_unsent(&mut self) -> io::Result<Option<(Entry, Vec<u8>)>> {
        let Some((entry, frame)) = self.read(self.sent.offset)? else { return Ok(None) };
        self.sent.offset += (ENTRY_HEADER + frame.len()) as u64;
        self.sent.seq = entry.seq;
        Ok(Some((entry, frame)))
    }

    /// Returns the frames that the brain does not have, as far as they can be read.
    pub fn waiting_frames(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut offset = self.acked.offset;
        std::iter::from_fn(move || {
            let (_, frame) = self.read(offset).ok()??;
            offset += (ENTRY_HEADER + frame.len()) as u64;
            Some(frame)
        })
    }

    /// Forgets what was sent and not acknowledged, so that it is sent again.
    pub fn rewind(&mut self) {
        self.sent = self.acked;
    }

    /// Notes that the brain has everything up to `seq`, and returns the events of it.
    pub fn acknowledge(&mut self, seq: u64) -> io::Result<Events> {
        let mut events = Events::default();
        while let Some(entry) = self.read_entry(self.acked.offset)? {
            if entry.seq > seq {
                break;
            }
            events.add(&entry.events);
            self.waiting.subtract(&entry.events);
            self.acked.offset += ENTRY_HEADER as u64 + u64::from(entry.len);
            self.acked.seq = entry.seq;
        }
        if self.sent.offset < self.acked.offset {
            self.sent = self.acked;
        }
        Ok(events)
    }

    /// Returns the events that the brain does not have.
    pub fn waiting(&self) -> Events {
        self.waiting
    }

    /// Returns the first sequence number that the brain does not have.
    pub fn first_waiting(&self) -> u64 {
        self.first.max(self.acked.seq + 1)
    }

    /// Empties it for reuse, once the brain has all of it.
    pub fn clear(&mut self) -> io::Result<()> {
        match &mut self.store {
            Store::Memory(memory) => *memory = Vec::new(),
            Store::File(file, _) => file.set_len(0)?,
        }
        (self.acked, self.sent) = (Place::default(), Place::default());
        (self.len, self.first) = (0, 0);
        Ok(())
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> io::Result<()> {
        match &self.store {
            Store::File(file, _) => file.sync_data(),
            Store::Memory(_) => Ok(()),
        }
    }

    /// Removes the file.
    pub fn delete(&self) -> io::Result<()> {
        match &self.store {
            Store::File(_, path) => std::fs::remove_file(path),
            Store::Memory(_) => Ok(()),
        }
    }

    /// Reads a whole entry and checks it; `None` at the end.
    fn read(&self, offset: u64) -> io::Result<Option<(Entry, Vec<u8>)>> {
        let Some(entry) = self.read_entry(offset)? else { return Ok(None) };
        let mut frame = vec![0; entry.len as usize];
        self.read_at(offset + ENTRY_HEADER as u64, &mut frame)?;
        if crc(entry.seq, &entry.events, &frame) != entry.crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a spooled frame is damaged"));
        }
        Ok(Some((entry, frame)))
    }

    fn read_entry(&self, offset: u64) -> io::Result<Option<Entry>> {
        if offset >= self.len {
            return Ok(None);
        }
        let mut bytes = [0; ENTRY_HEADER];
        self.read_at(offset, &mut bytes)?;
        let entry = decode(&bytes);
        let end = offset + ENTRY_HEADER as u64 + u64::from(entry.len);
        if entry.len as usize > FRAME_LEN_MAX || end > self.len {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a spooled entry is damaged"));
        }
        Ok(Some(entry))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.store {
            Store::File(file, _) => file.read_exact_at(bytes, offset),
            Store::Memory(memory) => {
                let start = offset as usize;
                let part = memory.get(start..start + bytes.len());
                bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

fn encode(seq: u64, events: &Events, frame: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ENTRY_HEADER + frame.len());
    bytes.extend_from_slice(&(frame.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&crc(seq, events, frame).to_le_bytes());
    bytes.extend_from_slice(&seq.to_le_bytes());
    for number in events.numbers() {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(frame);
    bytes
}

fn decode(bytes: &[u8; ENTRY_HEADER]) -> Entry {
    let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let events = Events::new(std::array::from_fn(|i| long(16 + 8 * i)));
    Entry { seq: long(8), events, len: word(0), crc: word(4) }
}

fn crc(seq: u64, events: &Events, frame: &[u8]) -> u32 {
    let mut sum = crc32c::crc32c(&seq.to_le_bytes());
    for number in events.numbers() {
        sum = crc32c::crc32c_append(sum, &number.to_le_bytes());
    }
    crc32c::crc32c_append(sum, frame)
}
