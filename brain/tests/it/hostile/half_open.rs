//! Handshakes that are begun and left: a first packet costs its sender nothing, not even its own
//! address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::{Endpoint, EndpointConfig};
use rustls::quic::{Keys, Version};
use wire::limits::HANDSHAKE_TIME;

use super::stage::Stage;
use crate::brain::within;
use crate::peer::Peer;
use crate::sensor::{Session, enrol};

const HANDSHAKES: usize = 10_000;

/// Addresses that they come from: more than the brain would serve of one.
const ADDRESSES: usize = 200;

/// First packets that go out together, and how often: some 10 000 a second.
const BURST: usize = 20;
const EVERY: Duration = Duration::from_millis(2);

/// Those of them that the kernel may drop on a busy machine.
const LOST_MAX: u64 = HANDSHAKES as u64 / 5;

/// First packets of clients that mean to begin a session, each with another key.
fn first_packets(quic: SocketAddr, count: usize) -> Vec<Vec<u8>> {
    let (_, config) = Peer::new(wire::ALPN_SESSION, None).socket();
    let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, false, None);
    let mut first = || {
        let now = Instant::now();
        let begun = endpoint.connect(now, config.clone(), quic, wire::BRAIN_NAME);
        let (_, mut connection) = begun.unwrap();
        let mut packet = Vec::new();
        let transmit = connection.poll_transmit(now, 1, &mut packet).unwrap();
        packet.truncate(transmit.size);
        packet
    };
    (0..count).map(|_| first()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handshakes_that_go_no_further_keep_nobody_out() {
    let mut stage = Stage::set().await;
    let quic = stage.brain.access.quic;
    let packets = tokio::task::spawn_blocking(move || first_packets(quic, HANDSHAKES));
    let packets = Arc::new(packets.await.unwrap());
    let sockets: Vec<UdpSocket> = (0..ADDRESSES)
        .map(|n| UdpSocket::bind((Ipv4Addr::new(127, 0, 1, n as u8 + 1), 0)).unwrap())
        .collect();
    let sockets = Arc::new(sockets);
    let (before, _) = stage.brain.memory();
    let sent = Arc::new(AtomicUsize::new(0));
    let attack = || {
        let (packets, sockets, sent) =
            (Arc::clone(&packets), Arc::clone(&sockets), Arc::clone(&sent));
        async move {
            loop {
                for _ in 0..BURST {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    let packet = &packets[number % HANDSHAKES];
                    let _ = sockets[number % ADDRESSES].send_to(packet, quic);
                }
                tokio::time::sleep(EVERY).await;
            }
        }
    };
    let waits = stage.beside(attack).await;
    // The rest of them, if the honest sensor was done before.
    let rest = tokio::spawn(attack());
    while sent.load(Ordering::Relaxed) < HANDSHAKES {
        tokio::time::sleep(EVERY).await;
    }
    rest.abort();
    let (_, most) = stage.brain.memory();
    // One that means it gets in meanwhile, if only after it has proven its address.
    let token = stage.brain.access.join_token(1, 600).await;
    let identity = enrol(quic, &token, "late").await.unwrap();
    let begun = Instant::now();
    Session::begin(quic, &identity, 1).await;
    let late = begun.elapsed();
    assert!(late < Duration::from_secs(2), "a late sensor waited for {late:?}");

    let access = &stage.brain.access;
    let counts = async || {
        let asked = access.metric("sakuramori_ingest_retried_total").await;
        let left = access.refused("handshake_timeout").await;
        let many = access.refused("too_many_handshakes").await;
        [asked, left, many]
    };
    let all = async || {
        let counts = counts().await;
        let sum: u64 = counts.iter().sum();
        (sum >= HANDSHAKES as u64 - LOST_MAX && counts[1] > 0).then_some(counts)
    };
    let patience = HANDSHAKE_TIME + Duration::from_secs(15);
    let [asked, left, many] = within(patience, "all counted", all).await;
    println!(
        "figure T-08: {} half-open handshakes from {ADDRESSES} addresses: \
         {asked} had to prove theirs, {left} given up after {} s, {many} too many; memory +{} KiB; \
         a late sensor is in after {:.0} ms; {waits}",
        sent.load(Ordering::Relaxed),
        HANDSHAKE_TIME.as_secs(),
        most.saturating_sub(before) >> 10,
        late.as_secs_f64() * 1000.0
    );
}

/// A first packet by hand (RFC 9001, section 5) whose greeting offers TLS 1.2 and nothing newer.
fn old_greeting() -> Vec<u8> {
    let mut hello = vec![3, 3];
    hello.extend_from_slice(&[7; 32]);
    // No session, one suite (ECDHE-ECDSA with AES-128-GCM), no compression.
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2b, 1, 0]);
    // Groups (secp256r1) and signatures (ECDSA with SHA-256).
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    hello.extend_from_slice(&(extensions.len() as u16).to_be_bytes());
    hello.extend_from_slice(&extensions);
    let mut message = vec![1, 0];
    message.extend_from_slice(&(hello.len() as u16).to_be_bytes());
    message.extend_from_slice(&hello);
    initial(&message)
}

/// Wraps a greeting as a client's first packet, padded to the least size.
fn initial(greeting: &[u8]) -> Vec<u8> {
    const SIZE: usize = 1200;
    const TAG: usize = 16;
    let id = [0x11; 8];
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    let keys = Keys::initial(Version::V1, suite, suite.quic.unwrap(), &id, rustls::Side::Client);
    let mut header = vec![0xc3, 0, 0, 0, 1, id.len() as u8];
    header.extend_from_slice(&id);
    // No own id, no token, then the length of number, payload and tag.
    header.extend_from_slice(&[0, 0]);
    let rest = SIZE - header.len() - 2;
    header.extend_from_slice(&(0x4000 | rest as u16).to_be_bytes());
    let number_at = header.len();
    header.extend_from_slice(&[0; 4]);
    // A CRYPTO frame at offset 0; zeros behind it are padding.
    let mut payload = vec![6, 0];
    payload.extend_from_slice(&(0x4000 | greeting.len() as u16).to_be_bytes());
    payload.extend_from_slice(greeting);
    payload.resize(rest - 4 - TAG, 0);
    let tag = keys.local.packet.encrypt_in_place(0, &header, &mut payload).unwrap();
    payload.extend_from_slice(tag.as_ref());
    let (first, number) = header.split_at_mut(number_at);
    keys.local.header.encrypt_in_place(&payload[..16], &mut first[0], number).unwrap();
    header.extend_from_slice(&payload);
    header
}

#[tokio::test]
async fn tls_1_2_is_refused_by_name() {
    let stage = Stage::set().await;
    let socket = UdpSocket::bind("127.0.0.70:0").unwrap();
    socket.send_to(&old_greeting(), stage.brain.access.quic).unwrap();
    let count = stage.refused("old_tls", Duration::from_secs(20)).await;
    println!("figure T-06: {count} of 1 greetings with TLS 1.2 refused");
}
