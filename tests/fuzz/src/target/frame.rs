//! A frame of the protocol → batch or control message, as the brain takes it from a sensor, however
//! it is compressed.

use wire::batch::Batch;
use wire::codec::{self, FrameError, HEADER_LEN, Header};
use wire::control::{Ack, Control};
use wire::limits;
use wire::record::{DnsAnswer, Process};

use super::batch::{POSITION, sample};
use super::{KIB, MIB, Target, choice};
use crate::memory;

pub(super) const TARGET: Target = Target {
    name: "frame",
    what: "a frame of the protocol: header, batch, control message, compressed or not",
    input_max: 8 * KIB,
    // What is decoded, and once more on its way back into a frame.
    memory_max: 2 * BATCH_MAX + 4 * limits::BODY_MAX,
    control: false,
    check,
    seeds,
};

/// Where a header says things.
const KIND_AT: usize = 6;
const CODEC_AT: usize = 7;
/// Kinds and codecs.
pub(super) const CONTROL: u8 = 1;
pub(super) const BATCH: u8 = 2;
pub(super) const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
pub(super) const COLUMNS: u8 = 3;
const COLUMNS_ZSTD: u8 = 4;

/// A message without a long text, and what the texts of any message may announce.
const SMALL_CONTROL: usize = 4 * KIB;
const CONTROL_MAX: usize = 2 * limits::CONTROL_MAX;

/// The largest record in memory.
const RECORD_SIZE: usize = 256;
/// Entries of lists within records: those of a batch as columns, the strictest decoder of which
/// allows so many.
const NESTED_MAX: usize = 1 << 18;
/// What the limits let a batch hold at the most, besides the bytes of its body: as many rows as may
/// be, lists within them, and a column of the largest table while it is read.
pub(super) const BATCH_MAX: usize = limits::RECORDS_MAX * RECORD_SIZE
    + limits::PROCESSES_MAX * size_of::<Process>()
    + NESTED_MAX * (size_of::<DnsAnswer>() + 2 * size_of::<u64>())
    + limits::STRINGS_MAX * 2 * size_of::<u64>()
    + MIB;

fn check(input: &[u8]) {
    let Some((choice, bytes)) = choice(input, 4) else { return };
    match choice {
        // As it is: nearly always the checksum refuses it.
        0 => decode(bytes),
        1 => {
            // Kind and codec as the input says, and how much comes out.
            if let Some(([kind, codec, full @ ..], body)) = bytes.split_first_chunk::<6>() {
                decode(&signed(*kind, *codec, u32::from_le_bytes(*full), body));
            }
        }
        // The first four bytes say how much comes out.
        _ => {
            if let Some((full, body)) = bytes.split_first_chunk() {
                let codec = if choice == 2 { ZSTD } else { COLUMNS_ZSTD };
                decode(&signed(BATCH, codec, u32::from_le_bytes(*full), body));
            }
        }
    }
}

/// A frame whose checksum is right: a hostile sensor can compute it as well.
pub(super) fn signed(kind: u8, codec: u8, full: u32, body: &[u8]) -> Vec<u8> {
    let ack = Control::Ack(Ack { position: POSITION });
    let mut frame = codec::encode_control(&ack).expect("it is short");
    frame.truncate(8);
    (frame[KIND_AT], frame[CODEC_AT]) = (kind, codec);
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(full.to_le_bytes());
    frame.extend(crc32c::crc32c_append(crc32c::crc32c(&frame), body).to_le_bytes());
    frame.extend(body);
    frame
}

/// Decodes within what the header has declared.
///
/// # Panics
/// When it takes more memory, or what comes out crosses a limit or does not survive the way back.
pub(super) fn decode(frame: &[u8]) {
    let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else { return };
    let Ok(header) = Header::parse(header) else { return };
    assert!(header.body_len() <= limits::FRAME_MAX && header.full_len() <= limits::BODY_MAX);
    let batch = within(2 * header.full_len() + BATCH_MAX, || codec::decode_batch(&header, body));
    // A text is made room for before it is read: eight times a small message, and no more than
    // twice the largest.
    let texts = if header.full_len() <= SMALL_CONTROL { 8 * SMALL_CONTROL } else { CONTROL_MAX };
    let said =
        within(2 * header.full_len() + texts + 4 * KIB, || codec::decode_control(&header, body));
    assert!(batch.is_err() || said.is_err(), "a frame is one of them");
    if let Ok(batch) = batch {
        check_batch(&batch);
    }
    if let Ok(said) = said {
        // A number may have been written in more bytes than it needs, so a frame only shrinks.
        let frame = codec::encode_control(&said).expect("it was short enough before");
        assert!(frame.len() <= HEADER_LEN + body.len());
        let (header, body) = frame.split_first_chunk().expect("a frame has a header");
        let again = Header::parse(header).and_then(|h| codec::decode_control(&h, body));
        assert_eq!(again.expect("it was taken before"), said);
    }
}

/// Decodes; panics when it takes more memory than it may.
fn within<T>(most: usize, decode: impl FnOnce() -> Result<T, FrameError>) -> Result<T, FrameError> {
    let mut decoded = Err(FrameError::Length);
    let peak = memory::peak_of(|| decoded = decode());
    assert!(peak <= most, "decoding took {peak} bytes of memory, {most} were declared");
    decoded
}

fn check_batch(batch: &Batch) {
    assert!(batch.record_count() <= limits::RECORDS_MAX);
    assert!(batch.processes.len() <= limits::PROCESSES_MAX);
    assert!(batch.strings.len() <= limits::STRINGS_MAX);
    // A batch may be too large to be sent on compressed; it need not be.
    if let Ok(frame) = codec::encode_batch(batch) {
        let again = codec::decode_batch_frame(&frame).expect("it was taken before");
        assert_eq!(again, *batch);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = codec::encode_batch(&sample()).expect("it is short");
    let rows = codec::in_rows(&whole).expect("it is short");
    let full = |frame: &[u8]| [frame[12], frame[13], frame[14], frame[15]];
    vec![
        [&[0], &whole[..]].concat(),
        [&[1, BATCH, whole[CODEC_AT]], &full(&whole)[..], &whole[HEADER_LEN..]].concat(),
        [&[2][..], &full(&rows), &rows[HEADER_LEN..]].concat(),
        [&[3][..], &full(&whole), &whole[HEADER_LEN..]].concat(),
    ]
}
