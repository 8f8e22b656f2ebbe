//! Capture files: classic pcap and pcapng → frames with time, link layer and length.
//!
//! Read block by block, so that a capture of any size takes little memory. Every length is checked
//! before anything is allocated for it, and an error says at which byte the file stops making
//! sense.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use thiserror::Error;

mod ng;

/// Longest block that is read: what capture tools allow for a frame, with room for its options.
const BLOCK_MAX: u32 = 1 << 20;
const SECOND: u64 = 1_000_000_000;
/// Magic numbers of classic pcap, as they read in little endian.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Type of pcapng's section header, the same in either byte order.
const SECTION: u32 = 0x0a0d_0d0a;
/// Bytes of classic pcap's header behind the magic number, and of a record's header.
const HEADER_LEN: usize = 20;
const RECORD_LEN: usize = 16;
/// The link layer is in the lower bits; the upper ones tell of checksums that follow frames.
const LINK_MASK: u32 = 0x0fff_ffff;

/// Why a capture cannot be read, or no further.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error("it cannot be read at byte {offset}: {error}")]
    Unreadable {
        /// Where.
        offset: u64,
        /// Why.
        error: std::io::Error,
    },
    /// It is neither format.
    #[error("it is no capture: it starts neither like pcap nor like pcapng")]
    Unknown,
    /// It ends in the middle of a block.
    #[error("it is cut: the block that starts at byte {offset} is not all there")]
    Cut {
        /// Where the block starts.
        offset: u64,
    },
    /// A block contradicts itself.
    #[error("it is damaged: the block that starts at byte {offset} {why}")]
    Damaged {
        /// Where the block starts.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// One captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When, nanoseconds since the Unix epoch; 0 when the capture does not say.
    pub time_ns: u64,
    /// Number of the link layer, the same in both formats.
    pub link: u32,
    /// Interface of the capture, from 1.
    pub interface: u32,
    /// Its length on the wire.
    pub length: u32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// Byte order of a file or section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..)?.first_chunk().copied()?;
        Some(if self == Self::Little {
            u32::from_le_bytes(bytes)
        } else {
            u32::from_be_bytes(bytes)
        })
    }

    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = bytes.get(at..)?.first_chunk().copied()?;
        Some(if self == Self::Little {
            u16::from_le_bytes(bytes)
        } else {
            u16::from_be_bytes(bytes)
        })
    }
}

/// What follows the first four bytes.
#[derive(Debug)]
enum Format {
    Classic { order: Order, link: u32, per_second: u64 },
    Ng(ng::Sections),
}

/// A capture that is read frame by frame.
#[derive(Debug)]
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
    block: Vec<u8>,
}

impl Capture<BufReader<File>> {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let unreadable = |error| CaptureError::Unreadable { offset: 0, error };
        let file = File::open(path).map_err(unreadable)?;
        if file.metadata().map_err(unreadable)?.is_dir() {
            return Err(unreadable(ErrorKind::IsADirectory.into()));
        }
        Self::read(BufReader::new(file))
    }
}

impl<R: Read> Capture<R> {
    /// Reads the begin of a capture.
    pub fn read(input: R) -> Result<Self, CaptureError> {
        let mut input = Input { input, offset: 0 };
        let mut magic = [0; 4];
        let mut block = Vec::new();
        match input.fill(&mut magic, 0) {
            Ok(Filled::All) => {}
            Ok(_) => return Err(CaptureError::Unknown),
            Err(error) => return Err(error),
        }
        let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
        if little == SECTION {
            let mut sections = ng::Sections::default();
            sections.begin(&mut input, &mut block)?;
            return Ok(Self { input, format: Format::Ng(sections), block });
        }
        let (order, magic) = match (little, big) {
            (MICROSECONDS | NANOSECONDS, _) => (Order::Little, little),
            (_, MICROSECONDS | NANOSECONDS) => (Order::Big, big),
            _ => return Err(CaptureError::Unknown),
        };
        let mut header = [0; HEADER_LEN];
        input.whole(&mut header, 0)?;
        let link = order.u32(&header, 16).unwrap_or_default() & LINK_MASK;
        let per_second = if magic == NANOSECONDS { SECOND } else { 1_000_000 };
        Ok(Self { input, format: Format::Classic { order, link, per_second }, block })
    }

    /// Returns the next frame; `None` at the end of the file.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Self { input, format, block } = self;
        match format {
            Format::Classic { order, link, per_second } => {
                classic(input, block, *order, *link, *per_second)
            }
            Format::Ng(sections) => sections.next(input, block),
        }
    }
}

fn classic<'a, R: Read>(
    input: &mut Input<R>,
    block: &'a mut Vec<u8>,
    order: Order,
    link: u32,
    per_second: u64,
) -> Result<Option<Frame<'a>>, CaptureError> {
    let start = input.offset;
    let mut header = [0; RECORD_LEN];
    if input.fill(&mut header, start)? == Filled::Nothing {
        return Ok(None);
    }
    if input.offset != start + RECORD_LEN as u64 {
        return Err(CaptureError::Cut { offset: start });
    }
    let number = |at| order.u32(&header, at).unwrap_or_default();
    let captured = number(8);
    if captured > BLOCK_MAX {
        let why = "claims a frame longer than any";
        return Err(CaptureError::Damaged { offset: start, why });
    }
    block.resize(captured as usize, 0);
    input.whole(block, start)?;
    let fraction = u64::from(number(4)) * (SECOND / per_second);
    Ok(Some(Frame {
        time_ns: u64::from(number(0)) * SECOND + fraction,
        link,
        interface: 1,
        length: number(12).max(captured),
        bytes: block,
    }))
}

/// How much of what was asked for is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filled {
    Nothing,
    Part,
    All,
}

/// Input that knows where it is.
#[derive(Debug)]
struct Input<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Input<R> {
    /// Reads as much as there is.
    fn fill(&mut self, bytes: &mut [u8], start: u64) -> Result<Filled, CaptureError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(CaptureError::Unreadable { offset: start, error }),
            }
        }
        self.offset += filled as u64;
        Ok(match filled {
            all if all == bytes.len() => Filled::All,
            0 => Filled::Nothing,
            _ => Filled::Part,
        })
    }

    /// Reads all, or says that the block is cut.
    fn whole(&mut self, bytes: &mut [u8], start: u64) -> Result<(), CaptureError> {
        match self.fill(bytes, start)? {
            Filled::All => Ok(()),
            _ => Err(CaptureError::Cut { offset: start }),
        }
    }
}

#[cfg(test)]
mod tests;
