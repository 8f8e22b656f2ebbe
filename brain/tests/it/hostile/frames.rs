//! Frames that lie, swell or are none, sent by a host that is known, as fast as it can.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN};
use wire::control::Control;
use wire::limits;

use super::stage::Stage;
use crate::peer::Peer;
use crate::refusal::broken_frames;
use crate::sensor::{self, Identity, Session};

const PATIENCE: Duration = Duration::from_secs(20);
const ELSEWHERE: u8 = 67;

/// What the bomb would become.
const BOMB: usize = 64 << 20;

/// Codec numbers of the protocol.
const ROWS_ZSTD: u8 = 2;
const COLUMNS: u8 = 3;
const COLUMNS_ZSTD: u8 = 4;

/// Memory that the brain may take for all of them: each is refused at a limit of a few MiB, of
/// some frames at once.
const MEMORY_MAX: u64 = 64 << 20;

/// A batch frame around a body, with a checksum that fits.
pub fn wrap(codec_number: u8, full_len: usize, body: &[u8]) -> Vec<u8> {
    let position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };
    let mut frame = codec::encode_batch(&Batch::empty(position, Clock::default())).unwrap();
    frame.truncate(HEADER_LEN - 12);
    frame[7] = codec_number;
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&(full_len as u32).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), body);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// A zstd frame (RFC 8878) of zeros, written by hand: a block for each 128 KiB, which is the most
/// that one may hold, and no word of how long it becomes.
fn bomb(len: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    const REPEATED: u32 = 1;
    // Magic number, no options, a window of one block.
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3];
    let blocks = len / BLOCK;
    for number in 1..=blocks {
        let is_last = u32::from(number == blocks);
        let head = is_last | REPEATED << 1 | (BLOCK as u32) << 3;
        bytes.extend_from_slice(&head.to_le_bytes()[..3]);
        bytes.push(0);
    }
    bytes
}

/// Columns that announce as many executions as a batch may have, and one more.
fn too_many_rows() -> Vec<u8> {
    let mut body = vec![0; 9];
    let mut count = limits::RECORDS_MAX + 1;
    while count >= 0x80 {
        body.push(count as u8 | 0x80);
        count >>= 7;
    }
    body.push(count as u8);
    body
}

fn hostile_frames() -> Vec<(&'static str, Vec<u8>)> {
    let bomb = bomb(BOMB);
    assert!(bomb.len() < 3 << 10, "{}", bomb.len());
    let rows = too_many_rows();
    let noise: Vec<u8> = (0..limits::FRAME_MAX).map(|_| rand::random()).collect();
    let mut frames = broken_frames();
    frames.extend([
        ("bad_length", wrap(ROWS_ZSTD, limits::BODY_MAX, &bomb)),
        ("bad_length", wrap(COLUMNS_ZSTD, limits::BODY_MAX, &bomb)),
        // It says that hardly anything comes out.
        ("bad_length", wrap(ROWS_ZSTD, 10, &bomb)),
        // It says that more comes out than does.
        ("bad_length", wrap(ROWS_ZSTD, limits::BODY_MAX, &self::bomb(1 << 20))),
        ("unknown_codec", wrap(9, 4, b"what")),
        ("undecodable", wrap(COLUMNS, rows.len(), &rows)),
        ("undecodable", wrap(COLUMNS, 32, &[0xff; 32])),
        ("not_a_frame", noise),
    ]);
    frames
}

/// Between two sessions: fewer than an address may begin.
const APART: Duration = Duration::from_millis(8);

/// Sends one frame in a session of its own, and returns why it was refused.
async fn send(quic: SocketAddr, host: &Identity, frame: &[u8]) -> String {
    tokio::time::sleep(APART).await;
    let peer = Peer::new(wire::ALPN_SESSION, Some(host)).from(ELSEWHERE);
    Session::begin_as(peer, quic, 1).await.provoke(frame).await.reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_lie_are_refused_by_reason_and_cost_little() {
    let mut stage = Stage::set().await;
    let host = Arc::clone(&stage.hosts(1).await[0]);
    let frames = Arc::new(hostile_frames());
    let quic = stage.brain.access.quic;
    let (before, _) = stage.brain.memory();
    let attack = || {
        let (frames, host) = (Arc::clone(&frames), Arc::clone(&host));
        async move {
            loop {
                for (reason, frame) in frames.iter() {
                    assert_eq!(send(quic, &host, frame).await, *reason);
                }
            }
        }
    };
    let waits = stage.beside(attack).await;
    let (_, most) = stage.brain.memory();
    let grown = most.saturating_sub(before);
    let mut counts = BTreeMap::new();
    for (reason, frame) in frames.iter() {
        assert_eq!(send(quic, &host, frame).await, *reason);
        counts.insert(*reason, stage.refused(reason, PATIENCE).await);
    }
    assert!(grown < MEMORY_MAX, "the brain took {} KiB more", grown >> 10);
    let stored = stage.brain.access.metric("sakuramori_ingest_records_total").await;
    assert_eq!(stored, 0, "records of hostile frames were taken");
    println!(
        "figure D-05: 64 MiB of zeros in {} bytes stop at the length that is announced; {} kinds \
         of frames refused ({counts:?}), memory +{} KiB at most; {waits}",
        bomb(BOMB).len(),
        frames.len(),
        grown >> 10
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_messages_that_nobody_expects_end_the_session() {
    let stage = Stage::set().await;
    let host = &stage.hosts(1).await[0];
    let quic = stage.brain.access.quic;
    let reply = wire::control::SettingsReply { revision: "x".to_owned(), problem: String::new() };
    let cases: [(&str, Vec<u8>); 4] = [
        ("unexpected_message", codec::encode_control(&Control::SettingsReply(reply)).unwrap()),
        ("unexpected_message", codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap()),
        ("not_a_frame", vec![0x55; 4096]),
        ("too_large", {
            let mut frame = codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap();
            let announced = limits::CONTROL_MAX as u32 + 1;
            frame[8..12].copy_from_slice(&announced.to_le_bytes());
            frame
        }),
    ];
    for (reason, bytes) in &cases {
        let mut session = Session::begin(quic, host, 1).await;
        session.control.write_all(bytes).await.unwrap();
        let refusal = loop {
            match sensor::read(&mut session.answers).await {
                Some(Control::Refusal(refusal)) => break refusal,
                // Settings of the policies may be on their way.
                Some(_) => {}
                None => panic!("{reason}: the session ended without a word"),
            }
        };
        assert_eq!(refusal.reason, *reason);
        stage.refused(reason, PATIENCE).await;
    }
}
