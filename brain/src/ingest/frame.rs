//! Frames from and to streams.

use quinn::{ReadExactError, RecvStream, SendStream};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::Control;
use wire::limits::{ANSWER_TIME, FRAME_TIME};

use super::refusal::Refused;

/// Bytes taken from a stream at once: memory grows with what has arrived, not with what was
/// announced.
const CHUNK: usize = 64 * 1024;

/// A frame as it arrived.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) header: Header,
    /// All bytes, header included.
    pub(super) bytes: Vec<u8>,
}

impl Frame {
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(HEADER_LEN..).unwrap_or_default()
    }
}

/// Reads the next frame, or nothing when the stream or the connection has ended between frames.
pub(super) async fn read(stream: &mut RecvStream) -> Result<Option<Frame>, Refused> {
    let mut head = [0; HEADER_LEN];
    // Between frames a stream may be silent for as long as the connection lives.
    match stream.read(&mut head[..1]).await {
        Ok(Some(1)) => {}
        Ok(_) | Err(_) => return Ok(None),
    }
    match tokio::time::timeout(FRAME_TIME, read_rest(stream, head)).await {
        Ok(frame) => frame,
        Err(_) => Err(Refused::new("slow_frame", "a frame was not complete in time")),
    }
}

async fn read_rest(
    stream: &mut RecvStream,
    mut head: [u8; HEADER_LEN],
) -> Result<Option<Frame>, Refused> {
    match stream.read_exact(&mut head[1..]).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(_)) => return Err(cut_short()),
        Err(ReadExactError::ReadError(_)) => return Ok(None),
    }
    let header = Header::parse(&head)?;
    let mut bytes = head.to_vec();
    let total = HEADER_LEN + header.body_len();
    while bytes.len() < total {
        let wanted = (total - bytes.len()).min(CHUNK);
        match stream.read_chunk(wanted, true).await {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => return Err(cut_short()),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(Frame { header, bytes }))
}

fn cut_short() -> Refused {
    Refused::new("cut_short", "a stream ended within a frame")
}

/// Writes a control frame. Returns whether the peer can still be written to; one that does not take
/// what it is told is refused.
pub(super) async fn write(stream: &mut SendStream, message: &Control) -> Result<bool, Refused> {
    let mut frames = Outgoing::default();
    Ok(frames.add(message) && frames.write(stream).await?)
}

/// Control frames that are written together.
#[derive(Debug, Default)]
pub(super) struct Outgoing(Vec<u8>);

impl Outgoing {
    /// Adds a message; returns whether it fits into a frame.
    pub(super) fn add(&mut self, message: &Control) -> bool {
        match codec::encode_control(message) {
            Ok(frame) => self.0.extend_from_slice(&frame),
            Err(error) => {
                tracing::error!(%error, "a control message does not fit into a frame");
                return false;
            }
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes them all, if there are any, as [`write()`] does.
    pub(super) async fn write(&mut self, stream: &mut SendStream) -> Result<bool, Refused> {
        let frames = std::mem::take(&mut self.0);
        if frames.is_empty() {
            return Ok(true);
        }
        match tokio::time::timeout(ANSWER_TIME, stream.write_all(&frames)).await {
            Ok(written) => Ok(written.is_ok()),
            Err(_) => Err(Refused::new("slow_reader", "what the brain says was not taken in time")),
        }
    }
}
