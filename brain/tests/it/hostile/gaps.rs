//! A stream of which every other byte never comes, so that nothing of it can be read and
//! everything must be kept (RUSTSEC-2026-0185).

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn::TransportConfig;
use quinn::congestion::{Controller, ControllerFactory};

use super::stage::Stage;
use crate::peer::{Peer, relay};
use crate::sensor::{Identity, Session};

const ELSEWHERE: [u8; 4] = [127, 0, 0, 71];

/// Datagrams below this carry a byte of the stream; those with acknowledgements are as short, and
/// the client does without half of them.
const SHORT: usize = 100;

/// Between two bytes.
const APART: Duration = Duration::from_micros(50);

/// What a session with nothing but gaps may take: some thousand pieces on each stream, before the
/// connection is cut.
const MEMORY_MAX: u64 = 8 << 20;

/// Sends without regard for what is lost.
#[derive(Clone, Debug)]
struct Careless;

impl Controller for Careless {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        1 << 30
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ControllerFactory for Careless {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new((*self).clone())
    }
}

/// A client that takes nothing for lost, so that it sends nothing again.
fn careless() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(Arc::new(Careless))
        .packet_threshold(u32::MAX)
        .time_threshold(1e6)
        .enable_segmentation_offload(false)
        .mtu_discovery_config(None);
    transport
}

/// Passes datagrams on; once it is told to, every other short one of the client is lost.
async fn lossy(brain: SocketAddr, is_lossy: Arc<AtomicBool>) -> SocketAddr {
    let mut shorts = 0_u64;
    let passes = move |datagram: &[u8]| {
        let is_short = is_lossy.load(Ordering::Relaxed) && datagram.len() < SHORT;
        shorts += u64::from(is_short);
        !is_short || shorts.is_multiple_of(2)
    };
    relay(brain, ELSEWHERE.into(), passes).await
}

/// Opens both lanes and sends them byte by byte until the brain ends it or wants no more.
async fn send_gaps(brain: SocketAddr, host: Arc<Identity>) {
    let is_lossy = Arc::new(AtomicBool::new(false));
    let address = lossy(brain, Arc::clone(&is_lossy)).await;
    let mut peer = Peer::new(wire::ALPN_SESSION, Some(&host));
    peer.transport = careless();
    let session = Session::begin_as(peer, address, 1).await;
    is_lossy.store(true, Ordering::Relaxed);
    let mut lane = session.connection.open_uni().await.unwrap();
    let sending = async {
        while lane.write_all(b"S").await.is_ok() {
            // The byte leaves in a datagram of its own, which another thread sends.
            tokio::task::block_in_place(|| std::thread::sleep(APART));
        }
    };
    tokio::select! {
        () = sending => {}
        _ = session.connection.closed() => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_full_of_gaps_is_cut_before_it_fills_memory() {
    let mut stage = Stage::set().await;
    let host = Arc::clone(&stage.hosts(1).await[0]);
    let quic = stage.brain.access.quic;
    let (before, _) = stage.brain.memory();
    let attack = || {
        let host = Arc::clone(&host);
        async move {
            loop {
                send_gaps(quic, Arc::clone(&host)).await;
            }
        }
    };
    let waits = stage.beside(attack).await;
    let once = tokio::time::timeout(Duration::from_secs(30), send_gaps(quic, host)).await;
    assert!(once.is_ok(), "the brain goes on keeping pieces");
    let (_, most) = stage.brain.memory();
    let grown = most.saturating_sub(before);
    assert!(grown < MEMORY_MAX, "the brain took {} KiB more", grown >> 10);
    let cut = stage.refused("quic_protocol", Duration::from_secs(20)).await;
    println!(
        "figure T-08: a stream of which every other byte is missing is cut ({cut} times), memory \
         +{} KiB; {waits}",
        grown >> 10
    );
}
