//! A host that sends valid batches without end: it is read at its share, and the others notice
//! nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec;
use wire::limits;
use wire::record::Exit;
use wire::text::StringTableBuilder;

use super::stage::Stage;
use crate::peer::Peer;
use crate::sensor::{self, Identity, Session};

const ELSEWHERE: u8 = 69;

/// What a host may send in a second, in this test: the limit is to be reached soon.
const SETTINGS: &str = "[limits]\nbytes_per_second = 1048576\n";

fn empty() -> Batch {
    let position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };
    Batch::empty(position, Clock { boot_ns: 1, unix_ns: 1 })
}

/// A batch that fills a frame: strings that do not compress.
fn large() -> Batch {
    let mut batch = empty();
    let mut strings = StringTableBuilder::default();
    for _ in 0..200 {
        strings.add(&std::array::from_fn::<u8, { limits::STRING_MAX }, _>(|_| rand::random()));
    }
    batch.strings = strings.finish();
    batch
}

/// A batch of very few bytes with as many records as one may have.
fn swollen() -> Batch {
    let mut batch = empty();
    batch.exits = vec![Exit::default(); limits::RECORDS_MAX];
    batch
}

/// Sends the same batch on and on: after the first one it is known, and costs the disk nothing.
async fn send_on(quic: SocketAddr, host: Arc<Identity>, frame: Arc<Vec<u8>>) {
    let peer = Peer::new(wire::ALPN_SESSION, Some(&host)).from(ELSEWHERE);
    let mut session = Session::begin_as(peer, quic, 1).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    let sending = async {
        loop {
            lane.write_all(&frame).await.unwrap();
        }
    };
    let hearing = async { while sensor::read(&mut session.answers).await.is_some() {} };
    tokio::select! {
        () = sending => {}
        () = hearing => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_never_stops_is_read_at_its_share() {
    let mut stage = Stage::with(SETTINGS).await;
    let hosts = stage.hosts(3).await;
    let quic = stage.brain.access.quic;
    let kinds = [("large", large()), ("empty", empty()), ("swollen", swollen())];
    for (host, (kind, batch)) in hosts.iter().zip(kinds) {
        let frame = Arc::new(codec::encode_batch(&batch).unwrap());
        let access = &stage.brain.access;
        let received = "sakuramori_ingest_batches_total{outcome=\"received\"}";
        let paced = access.metric("sakuramori_ingest_paced_total").await;
        let before = access.metric(received).await - stage.honest.seq;
        let begun = std::time::Instant::now();
        let waits = stage.beside(|| send_on(quic, Arc::clone(host), Arc::clone(&frame))).await;
        let seconds = begun.elapsed().as_secs_f64();
        let access = &stage.brain.access;
        let batches = access.metric(received).await - stage.honest.seq - before;
        let paced = access.metric("sakuramori_ingest_paced_total").await - paced;
        assert!(paced > 0, "{kind}: nobody was made to wait");
        println!(
            "figure T-08: endless {kind} batches of {} bytes: {:.0} a second read, made to wait \
             {paced} times; {waits}",
            frame.len(),
            batches as f64 / seconds
        );
    }
}
