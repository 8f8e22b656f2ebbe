//! Frames: a fixed header, then a body that is decoded only within limits. The only file that names
//! the serialisation and compression crates.
//!
//! ```text
//!  0      4        6      7       8          12         16         20
//!  | SKRM | version | kind | codec | body_len | full_len | crc32c   | body …
//! ```
//! Integers are little-endian. `body_len` counts the bytes that follow the header, `full_len` the
//! bytes after decompression; the checksum (CRC-32C, RFC 3720) covers the header before it and the
//! body. Batches travel as columns; those of the first release, and control messages, are rows as
//! bincode writes them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Read;
use std::sync::LazyLock;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::VERSION;
use crate::batch::{Batch, BatchError};
use crate::columns;
use crate::control::Control;
use crate::limits;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 20;

const MAGIC: [u8; 4] = *b"SKRM";
const KIND_CONTROL: u8 = 1;
const KIND_BATCH: u8 = 2;
const CODEC_BINCODE: u8 = 1;
const CODEC_BINCODE_ZSTD: u8 = 2;
const CODEC_COLUMNS: u8 = 3;
const CODEC_COLUMNS_ZSTD: u8 = 4;

/// Text that hosts often send, which compressed columns refer to. It is part of the protocol:
/// another text needs another codec number.
const DICTIONARY: &[u8] = include_bytes!("codec/dictionary.txt");

/// Bytes of a control message that has no long text in it: nearly all are shorter.
const SMALL_CONTROL: usize = 4096;

/// Room for a decompressed batch that a thread keeps: nearly all batches fit into it.
const KEPT: usize = 64 * 1024;

/// zstd's fastest regular level; higher ones cost the host more than they save on the wire.
const ZSTD_LEVEL: i32 = 1;

/// Why a frame is refused.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The first bytes are not a frame's.
    #[error("not a Sakuramori frame")]
    Magic,
    /// The peer speaks another version.
    #[error(
        "peer speaks protocol version {theirs}, this build speaks {VERSION}; upgrade the older one"
    )]
    Version {
        /// What the frame says.
        theirs: u16,
    },
    /// The header announces more than is allowed.
    #[error("frame announces {announced} bytes, the limit is {max}")]
    TooLarge {
        /// What the header says.
        announced: usize,
        /// The limit.
        max: usize,
    },
    /// The frame's kind is not the expected one, or not known.
    #[error("frame kind {0} is not expected here")]
    Kind(u8),
    /// The codec number is not known.
    #[error("codec {0} is not known")]
    Codec(u8),
    /// The checksum does not fit.
    #[error("checksum does not fit")]
    Checksum,
    /// The body ends early, or is longer than announced, or does not decompress.
    #[error("body does not decompress to the announced length")]
    Length,
    /// The body is not what its kind says.
    #[error("body does not decode: {0}")]
    Body(String),
    /// The batch contradicts itself.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl FrameError {
    /// Returns the stable name that metrics use as a label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Magic => "not_a_frame",
            Self::Version { .. } => "unknown_version",
            Self::TooLarge { .. } => "too_large",
            Self::Kind(_) => "unexpected_kind",
            Self::Codec(_) => "unknown_codec",
            Self::Checksum => "checksum",
            Self::Length => "bad_length",
            Self::Body(_) => "undecodable",
            Self::Batch(_) => "inconsistent_batch",
        }
    }
}

/// A checked header: the body's lengths are within limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    kind: u8,
    codec: u8,
    body_len: usize,
    full_len: usize,
    crc: u32,
    crc_of_header: u32,
}

impl Header {
    /// Parses a header before any byte of the body is read or room for it is made.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        if bytes[..4] != MAGIC {
            return Err(FrameError::Magic);
        }
        let theirs = u16::from_le_bytes([bytes[4], bytes[5]]);
        if theirs != VERSION {
            return Err(FrameError::Version { theirs });
        }
        let header = Self {
            kind: bytes[6],
            codec: bytes[7],
            body_len: word(8) as usize,
            full_len: word(12) as usize,
            crc: word(16),
            crc_of_header: crc32c::crc32c(&bytes[..16]),
        };
        let (body_max, full_max) = match header.kind {
            KIND_CONTROL => (limits::CONTROL_MAX, limits::CONTROL_MAX),
            KIND_BATCH => (limits::FRAME_MAX, limits::BODY_MAX),
            other => return Err(FrameError::Kind(other)),
        };
        for (announced, max) in [(header.body_len, body_max), (header.full_len, full_max)] {
            if announced > max {
                return Err(FrameError::TooLarge { announced, max });
            }
        }
        Ok(header)
    }

    /// Bytes of the body that follows the header.
    pub fn body_len(&self) -> usize {
        self.body_len
    }

    /// Bytes of the body once it is decompressed.
    pub fn full_len(&self) -> usize {
        self.full_len
    }
}

/// Encodes a control frame.
pub fn encode_control(message: &Control) -> Result<Vec<u8>, FrameError> {
    let body = to_bytes(message)?;
    frame(KIND_CONTROL, CODEC_BINCODE, body.len(), &body, limits::CONTROL_MAX)
}

/// Encodes a batch as a compressed frame. Fails when it crosses a limit; cut it smaller then.
pub fn encode_batch(batch: &Batch) -> Result<Vec<u8>, FrameError> {
    let full = fitting(columns::pack(batch))?;
    let body = Compressor::with_prepared_dictionary(&COMPRESSION)
        .and_then(|mut compressor| compressor.compress(&full));
    let body = body.map_err(|e| FrameError::Body(e.to_string()))?;
    if body.len() < full.len() {
        frame(KIND_BATCH, CODEC_COLUMNS_ZSTD, full.len(), &body, limits::FRAME_MAX)
    } else {
        frame(KIND_BATCH, CODEC_COLUMNS, full.len(), &full, limits::FRAME_MAX)
    }
}

/// Returns a batch's frame as brains take it that do not know columns: those of protocol 1.0, which
/// answer to [`crate::ALPN_SESSION`] alone.
pub fn in_rows(frame_bytes: &[u8]) -> Result<Cow<'_, [u8]>, FrameError> {
    let (header, body) = frame_bytes.split_first_chunk().ok_or(FrameError::Length)?;
    let header = Header::parse(header)?;
    if !matches!(header.codec, CODEC_COLUMNS | CODEC_COLUMNS_ZSTD) {
        return Ok(Cow::Borrowed(frame_bytes));
    }
    let full = fitting(to_bytes(&decode_batch(&header, body)?)?)?;
    let body =
        zstd::bulk::compress(&full, ZSTD_LEVEL).map_err(|e| FrameError::Body(e.to_string()))?;
    frame(KIND_BATCH, CODEC_BINCODE_ZSTD, full.len(), &body, limits::FRAME_MAX).map(Cow::Owned)
}

fn fitting(full: Vec<u8>) -> Result<Vec<u8>, FrameError> {
    match full.len() {
        fits if fits <= limits::BODY_MAX => Ok(full),
        announced => Err(FrameError::TooLarge { announced, max: limits::BODY_MAX }),
    }
}

/// Decodes the body of a control frame.
pub fn decode_control(header: &Header, body: &[u8]) -> Result<Control, FrameError> {
    if header.kind != KIND_CONTROL {
        return Err(FrameError::Kind(header.kind));
    }
    // What a text announces is made room for before it is read, so little is believed of a small
    // message.
    with_full(header, body, |full| match full.len() <= SMALL_CONTROL {
        true => from_bytes::<_, { 8 * SMALL_CONTROL }>(full),
        false => from_bytes::<_, { 2 * limits::CONTROL_MAX }>(full),
    })
}

/// Decodes and checks the body of a batch frame.
pub fn decode_batch(header: &Header, body: &[u8]) -> Result<Batch, FrameError> {
    if header.kind != KIND_BATCH {
        return Err(FrameError::Kind(header.kind));
    }
    let batch = with_full(header, body, |full| match header.codec {
        CODEC_COLUMNS | CODEC_COLUMNS_ZSTD => {
            columns::unpack(full).map_err(|fault| FrameError::Body(fault.to_owned()))
        }
        _ => from_bytes::<_, { limits::BODY_MAX }>(full),
    })?;
    batch.check()?;
    Ok(batch)
}

/// Decodes a whole batch frame from a buffer, as spool and journal keep them.
pub fn decode_batch_frame(frame: &[u8]) -> Result<Batch, FrameError> {
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().ok_or(FrameError::Length)?;
    decode_batch(&Header::parse(header)?, body)
}

fn frame(
    kind: u8,
    codec: u8,
    full_len: usize,
    body: &[u8],
    body_max: usize,
) -> Result<Vec<u8>, FrameError> {
    if body.len() > body_max {
        return Err(FrameError::TooLarge { announced: body.len(), max: body_max });
    }
    let mut frame = Vec::with_capacity(HEADER_LEN + body.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&VERSION.to_le_bytes());
    frame.extend_from_slice(&[kind, codec]);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&(full_len as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), body);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(body);
    Ok(frame)
}

/// Checks length and checksum, decompresses to exactly the announced length, and has that read.
fn with_full<T>(
    header: &Header,
    body: &[u8],
    read: impl FnOnce(&[u8]) -> Result<T, FrameError>,
) -> Result<T, FrameError> {
    if body.len() != header.body_len {
        return Err(FrameError::Length);
    }
    if crc32c::crc32c_append(header.crc_of_header, body) != header.crc {
        return Err(FrameError::Checksum);
    }
    let whole = |full: &[u8]| match full.len() == header.full_len {
        true => read(full),
        false => Err(FrameError::Length),
    };
    match (header.kind, header.codec) {
        (_, CODEC_BINCODE) | (KIND_BATCH, CODEC_COLUMNS) => whole(body),
        (_, CODEC_BINCODE_ZSTD) => whole(&decompress(body, header.full_len)?),
        (KIND_BATCH, CODEC_COLUMNS_ZSTD) => by_dictionary(body, header.full_len, whole),
        (_, other) => Err(FrameError::Codec(other)),
    }
}

/// Streams the decompression, so that memory grows with what is really there and stops at the
/// announced length, whatever the compressed bytes claim.
fn decompress(body: &[u8], full_len: usize) -> Result<Vec<u8>, FrameError> {
    let decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| FrameError::Length)?;
    let mut full = Vec::new();
    decoder.take(full_len as u64 + 1).read_to_end(&mut full).map_err(|_| FrameError::Length)?;
    Ok(full)
}

/// Decompresses into room for the announced length, or as much as is kept from batch to batch.
fn by_dictionary<T>(
    body: &[u8],
    full_len: usize,
    read: impl FnOnce(&[u8]) -> Result<T, FrameError>,
) -> Result<T, FrameError> {
    DECOMPRESSOR.with_borrow_mut(|work| {
        let (decompressor, full) = work.as_mut().ok_or(FrameError::Length)?;
        full.clear();
        full.reserve_exact(full_len);
        let decompressed = decompressor.decompress_to_buffer(body, full);
        let result = decompressed.map_err(|_| FrameError::Length).and_then(|_| read(full));
        if full.capacity() > KEPT {
            *full = Vec::new();
        }
        result
    })
}

static COMPRESSION: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, ZSTD_LEVEL));

static DECOMPRESSION: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    /// What decompression works with takes longer to make than a batch takes to read. A sensor,
    /// which only compresses, never has one.
    static DECOMPRESSOR: RefCell<Option<(Decompressor<'static>, Vec<u8>)>> = RefCell::new(
        Decompressor::with_prepared_dictionary(&DECOMPRESSION).ok().map(|d| (d, Vec::new())),
    );
}

fn config<const MAX: usize>() -> Configuration<LittleEndian, Varint, Limit<MAX>> {
    bincode::config::standard().with_limit::<MAX>()
}

fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let config = config::<{ limits::BODY_MAX }>();
    bincode::serde::encode_to_vec(value, config).map_err(|e| FrameError::Body(e.to_string()))
}

/// Decodes rows or a message. `MAX` is what its numbers and texts may take in memory; a number that
/// is written as one byte may take eight.
fn from_bytes<T: DeserializeOwned, const MAX: usize>(bytes: &[u8]) -> Result<T, FrameError> {
    match bincode::serde::decode_from_slice(bytes, config::<MAX>()) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => {
            Err(FrameError::Body(format!("{} bytes are left over", bytes.len() - used)))
        }
        Err(error) => Err(FrameError::Body(error.to_string())),
    }
}
