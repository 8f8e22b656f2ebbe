//! A connection that is cut at every byte of a batch: what was acknowledged is there, and what is
//! not whole is not.

use wire::codec;

use super::stage::Stage;
use crate::peer::Peer;
use crate::sensor::{Session, fileless};

/// Handshakes come as fast as one sensor can make them.
const SETTINGS: &str = "[limits]\nhandshakes_per_second = 100000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_every_byte_loses_nothing_that_was_acknowledged() {
    let stage = Stage::with(SETTINGS).await;
    let host = &stage.hosts(1).await[0];
    let quic = stage.brain.access.quic;
    let frame_of = |seq: u64| codec::encode_batch(&fileless(1, seq, "cut")).unwrap();
    let (mut cuts, mut seq, mut acknowledged, mut missing) = (0, 1_u64, 0_u64, 0);
    let length = frame_of(1).len();
    for cut in 0..=length {
        let mut session = Session::begin(quic, host, 1).await;
        let durable = session.welcome.durable[0];
        missing += acknowledged.saturating_sub(durable);
        assert!(durable < seq, "a batch is on disk that was never sent whole");
        let frame = frame_of(seq);
        let end = cut.min(frame.len());
        let mut lane = session.connection.open_uni().await.unwrap();
        lane.write_all(&frame[..end]).await.unwrap();
        if end == frame.len() {
            assert_eq!(session.acknowledged().await.unwrap().seq, seq);
            acknowledged += 1;
            seq += 1;
        }
        // Some wait until the bytes have arrived, others are gone before.
        if cut % 2 == 0 {
            let _ = lane.finish();
            let _ = tokio::time::timeout(std::time::Duration::from_millis(5), lane.stopped()).await;
        }
        session.connection.close(0u32.into(), b"cut");
        cuts += 1;
    }
    let mut session = Session::begin_as(Peer::new(wire::ALPN_SESSION, Some(host)), quic, 1).await;
    assert_eq!((session.welcome.durable[0], missing), (seq - 1, 0));
    session.deliver(&fileless(1, seq, "cut")).await;
    println!(
        "figure T-05: cut at each of {cuts} places, {acknowledged} batches acknowledged, {missing} \
         of them missing"
    );
}
