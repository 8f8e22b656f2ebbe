//! Control frames on a QUIC stream.

use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use thiserror::Error;
use wire::codec::{self, FrameError, HEADER_LEN, Header};
use wire::control::Control;

/// The brain answers a request at once; a path that takes longer is broken.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Why a frame did not come or go.
#[derive(Debug, Error)]
pub enum FrameIoError {
    /// The stream ended or broke.
    #[error("the connection ended: {0}")]
    Stream(String),
    /// The bytes are not a frame.
    #[error("the brain sent something unexpected: {0}")]
    Frame(#[from] FrameError),
    /// Nothing came.
    #[error("no answer within {} s", ANSWER_TIME.as_secs())]
    Silence,
}

/// Writes a control frame.
pub async fn write(stream: &mut SendStream, message: &Control) -> Result<(), FrameIoError> {
    let frame = codec::encode_control(message)?;
    stream.write_all(&frame).await.map_err(|error| FrameIoError::Stream(error.to_string()))
}

/// Reads a control frame. No more is read than its checked header announces.
pub async fn read(stream: &mut RecvStream) -> Result<Control, FrameIoError> {
    let ended = |error: quinn::ReadExactError| FrameIoError::Stream(error.to_string());
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await.map_err(ended)?;
    let header = Header::parse(&header)?;
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).await.map_err(ended)?;
    Ok(codec::decode_control(&header, &body)?)
}

/// Asks on a stream of its own and waits for the answer.
pub async fn ask(connection: &Connection, question: &Control) -> Result<Control, FrameIoError> {
    let exchange = async {
        let opened = connection.open_bi().await;
        let (mut send, mut receive) =
            opened.map_err(|error| FrameIoError::Stream(error.to_string()))?;
        write(&mut send, question).await?;
        read(&mut receive).await
    };
    timely(exchange).await
}

/// Gives an answer its time.
pub async fn timely<T>(
    answer: impl Future<Output = Result<T, FrameIoError>>,
) -> Result<T, FrameIoError> {
    tokio::time::timeout(ANSWER_TIME, answer).await.unwrap_or(Err(FrameIoError::Silence))
}
