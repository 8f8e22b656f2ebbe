//! A link that loses, doubles, delays and reorders datagrams, or lets none pass.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::plan::{Link, Numbers};

/// Longest datagram.
const DATAGRAM_MAX: usize = 65_536;
/// Pause of the loop when nothing is on its way.
const PAUSE: Duration = Duration::from_micros(500);
/// Packets that may be on their way; a real queue drops the rest as well.
const QUEUE_MAX: usize = 10_000;

/// What the link has done.
#[derive(Debug, Default)]
struct Shared {
    ended: AtomicBool,
    cut: AtomicBool,
    clean: AtomicBool,
    moving: AtomicBool,
    lost: AtomicU64,
    doubled: AtomicU64,
    passed: AtomicU64,
}

/// A running link between sensors and a brain.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a link to `brain`; it is clean until [`Proxy::trouble`].
    pub fn start(brain: SocketAddr, link: Link, seed: u64) -> Result<Self> {
        let front = socket()?;
        let address = front.local_addr()?;
        let shared = Arc::new(Shared { clean: true.into(), ..Shared::default() });
        let mut way = Way {
            front,
            brain,
            link,
            numbers: Numbers::new(seed),
            backs: HashMap::new(),
            queue: BinaryHeap::new(),
            packets: 0,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::spawn(move || way.run());
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where sensors find the brain.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the link as bad as it is meant to be, or clean again.
    pub fn trouble(&self, bad: bool) {
        self.shared.clean.store(!bad, Ordering::Relaxed);
    }

    /// Lets nothing pass, or everything again.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }

    /// Gives the link other addresses towards the brain, as a router that starts again does.
    pub fn change_addresses(&self) {
        self.shared.moving.store(true, Ordering::Relaxed);
    }

    /// Returns packets that passed, were lost and were doubled.
    pub fn counts(&self) -> [u64; 3] {
        let Shared { passed, lost, doubled, .. } = &*self.shared;
        [passed, lost, doubled].map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A packet on its way: when it arrives, its number, to the brain or back, whose, and what it is.
type Packet = (Instant, u64, bool, SocketAddr, Vec<u8>);

struct Way {
    front: UdpSocket,
    brain: SocketAddr,
    link: Link,
    numbers: Numbers,
    /// The socket that stands for each sensor towards the brain.
    backs: HashMap<SocketAddr, UdpSocket>,
    queue: BinaryHeap<Reverse<Packet>>,
    packets: u64,
    shared: Arc<Shared>,
}

impl Way {
    fn run(&mut self) {
        let mut buffer = vec![0; DATAGRAM_MAX];
        while !self.shared.ended.load(Ordering::Relaxed) {
            let mut idle = true;
            if self.shared.moving.swap(false, Ordering::Relaxed) {
                self.change_addresses();
            }
            while let Ok((len, sensor)) = self.front.recv_from(&mut buffer) {
                idle = false;
                if self.back(sensor).is_ok() {
                    self.take(true, sensor, &buffer[..len]);
                }
            }
            let sensors: Vec<SocketAddr> = self.backs.keys().copied().collect();
            for sensor in sensors {
                while let Some(len) = self.heard(sensor, &mut buffer) {
                    idle = false;
                    self.take(false, sensor, &buffer[..len]);
                }
            }
            self.deliver();
            if idle {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn back(&mut self, sensor: SocketAddr) -> Result<()> {
        if !self.backs.contains_key(&sensor) {
            self.backs.insert(sensor, self.new_back()?);
        }
        Ok(())
    }

    fn new_back(&self) -> Result<UdpSocket> {
        let back = socket()?;
        back.connect(self.brain).context("failed to aim at the brain")?;
        Ok(back)
    }

    /// A sensor for which there is no other socket keeps its own.
    fn change_addresses(&mut self) {
        let sensors: Vec<SocketAddr> = self.backs.keys().copied().collect();
        for sensor in sensors {
            let back = self.new_back();
            self.backs.extend(back.map(|back| (sensor, back)));
        }
    }

    /// Returns the length of the next datagram from the brain to a sensor. That nobody listens
    /// there is told in between, and is no datagram.
    fn heard(&self, sensor: SocketAddr, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.backs.get(&sensor)?.recv(buffer) {
                Ok(len) => return Some(len),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }

    fn take(&mut self, to_brain: bool, sensor: SocketAddr, bytes: &[u8]) {
        let clean = self.shared.clean.load(Ordering::Relaxed);
        let cut = self.shared.cut.load(Ordering::Relaxed);
        let Link { lost, doubled, late_ms, longest } = self.link;
        let n = &mut self.numbers;
        // All numbers are taken each time, so that one fault does not shift the others.
        let (lost, doubled) = (n.per_mille(lost), n.per_mille(doubled));
        let late = [n.within(0, late_ms), n.within(0, late_ms)];
        let lost = lost || bytes.len() > longest;
        if cut || lost && !clean || self.queue.len() >= QUEUE_MAX {
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let copies = if doubled && !clean { 2 } else { 1 };
        self.shared.doubled.fetch_add(copies - 1, Ordering::Relaxed);
        for late in &late[..copies as usize] {
            let late = if clean { 0 } else { *late };
            self.packets += 1;
            let at = Instant::now() + Duration::from_millis(late);
            self.queue.push(Reverse((at, self.packets, to_brain, sensor, bytes.to_vec())));
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.queue.peek().is_some_and(|Reverse(packet)| packet.0 <= now) {
            let Some(Reverse((_, _, to_brain, sensor, bytes))) = self.queue.pop() else { return };
            // A send fails when nobody listens; for a link that is a packet lost.
            let sent = match (to_brain, self.backs.get(&sensor)) {
                (true, Some(back)) => back.send(&bytes),
                _ => self.front.send_to(&bytes, sensor),
            };
            let count = if sent.is_ok() { &self.shared.passed } else { &self.shared.lost };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).context("failed to open a UDP socket")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
