//! A small DNS server: every name has an alias and an address, names that begin with `nx` do not
//! exist.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use super::DNS_PORT;
use crate::kernel::netns::Namespace;

/// The address of every name.
pub const ADDRESS: [u8; 4] = [203, 0, 113, 9];
/// How often the server looks whether it shall end.
const LOOK: Duration = Duration::from_millis(50);

/// Answers until dropped.
pub struct Resolver {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Resolver {
    pub fn start(namespace: &Namespace, addresses: &[IpAddr]) -> Result<Self> {
        let mut resolver = Self { stop: Arc::default(), threads: Vec::new() };
        for address in addresses {
            let at = SocketAddr::new(*address, DNS_PORT);
            let (udp, tcp) = namespace.inside(|| (UdpSocket::bind(at), TcpListener::bind(at)))?;
            let (udp, tcp) = (udp?, tcp?);
            udp.set_read_timeout(Some(LOOK))?;
            tcp.set_nonblocking(true)?;
            let stop = Arc::clone(&resolver.stop);
            resolver.threads.push(thread::spawn(move || datagrams(&udp, &stop)));
            let stop = Arc::clone(&resolver.stop);
            resolver.threads.push(thread::spawn(move || streams(&tcp, &stop)));
        }
        Ok(resolver)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

fn datagrams(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 1500];
    while !stop.load(Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _gone = socket.send_to(&answer(&buffer[..length]), from);
        }
    }
}

fn streams(listener: &TcpListener, stop: &AtomicBool) {
    while !stop.load(Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(LOOK);
            continue;
        };
        let mut buffer = [0; 1500];
        let _blocking = stream.set_nonblocking(false);
        let _timeout = stream.set_read_timeout(Some(Duration::from_secs(5)));
        if let Ok(length @ 3..) = stream.read(&mut buffer) {
            let answer = answer(&buffer[2..length]);
            let prefix = (answer.len() as u16).to_be_bytes();
            let _gone = stream.write_all(&[&prefix[..], &answer].concat());
        }
    }
}

/// Puts a query together.
pub fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(wire_name(name));
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| {
        let length = label.len() as u8;
        std::iter::once(length).chain(label.bytes())
    });
    labels.chain([0]).collect()
}

fn answer(query: &[u8]) -> Vec<u8> {
    let missing = query.get(13..15) == Some(b"nx");
    let mut bytes = query.to_vec();
    bytes[2] = 0x81;
    bytes[3] = if missing { 0x83 } else { 0x80 };
    if !missing {
        bytes[7] = 2;
        let alias = wire_name("alias.example.test");
        bytes.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, alias.len() as u8]);
        bytes.extend(alias);
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(ADDRESS);
    }
    bytes
}
