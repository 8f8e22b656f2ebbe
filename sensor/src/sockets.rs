//! The TCP and UDP sockets that were open before the sensor started, from `/proc`, with their
//! owners.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wire::record::Address;

use crate::owner::{TCP, Tuple};
use crate::privileged::{self, NetTable, ProcLink};

/// Lines read of a table of sockets; a host with more has flows whose owner is learnt later.
const LINES_MAX: usize = 100_000;
/// Network namespaces looked at; a host with more has flows whose owner is learnt later.
const NAMESPACES_MAX: usize = 1024;
/// IP protocol number of UDP.
const UDP: u8 = 17;
/// Tables below `/proc/PID/net`, with their protocol.
const TABLES: [(NetTable, u8); 4] =
    [(NetTable::Tcp, TCP), (NetTable::Tcp6, TCP), (NetTable::Udp, UDP), (NetTable::Udp6, UDP)];
/// States in these tables. A UDP socket that is not connected is "closed".
const ESTABLISHED: &str = "01";
const CLOSE: &str = "07";
const LISTEN: &str = "0A";
/// Ports that the kernel picks for clients, unless the host says otherwise.
const PICKED: (u16, u16) = (32_768, 60_999);

/// The sockets that were open, and where.
#[derive(Clone, Debug, Default)]
pub struct OpenSockets {
    /// Inode number of the network namespace whose interfaces are watched; 0 when not known.
    pub home: u32,
    /// The sockets.
    pub sockets: Vec<OpenSocket>,
}

/// An open socket and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// Both ends.
    pub tuple: Tuple,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Whether it listens. A UDP socket does when it is bound to a port that nobody picks for a
    /// client.
    pub listens: bool,
    /// The process that holds it; of several, the first.
    pub pid: u32,
}

/// Returns the sockets of a network namespace, or of all when `netns` is `None`; then the sensor's
/// own is home.
pub fn open_sockets(netns: Option<&Path>, pids: &[u32]) -> OpenSockets {
    let own = Path::new("/proc/self/ns/net");
    let Some(home) = inode(netns.unwrap_or(own)) else { return OpenSockets::default() };
    let mut spaces: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    for &pid in pids {
        let Some(space) = privileged::namespace(pid, ProcLink::NetNamespace) else { continue };
        let wanted = space == home || netns.is_none();
        if wanted && (spaces.len() < NAMESPACES_MAX || spaces.contains_key(&space)) {
            spaces.entry(space).or_default().push(pid);
        }
    }
    let picked = picked();
    let of_space = |(&space, pids): (&u64, &Vec<u32>)| of_namespace(space as u32, pids, picked);
    let sockets = spaces.iter().flat_map(of_space).collect();
    OpenSockets { home: home as u32, sockets }
}

/// Returns the sockets of the processes of one network namespace.
fn of_namespace(netns: u32, pids: &[u32], picked: (u16, u16)) -> Vec<OpenSocket> {
    let Some(&witness) = pids.first() else { return Vec::new() };
    let mut by_inode = HashMap::new();
    for (table, protocol) in TABLES {
        let text = privileged::open_table(witness, table).and_then(std::io::read_to_string);
        let text = text.unwrap_or_default();
        let lines = text.lines().skip(1).take(LINES_MAX);
        by_inode.extend(lines.filter_map(|text| line(text, protocol, picked)));
    }
    let mut sockets = Vec::new();
    for &pid in pids {
        for inode in privileged::sockets(pid).unwrap_or_default() {
            // A socket that several processes hold is told once.
            if let Some((tuple, listens)) = by_inode.remove(&inode) {
                sockets.push(OpenSocket { tuple, netns, listens, pid });
            }
        }
    }
    sockets
}

/// Returns the first and the last of the ports that the kernel picks for clients.
fn picked() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let text = text.unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => (first, last),
        _ => PICKED,
    }
}

fn inode(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.ino())
}

/// Parses a line of a table into the socket's inode, its ends, and whether it listens; `None` for
/// the states between.
pub fn line(text: &str, protocol: u8, picked: (u16, u16)) -> Option<(u64, (Tuple, bool))> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let (local, local_port) = end(words.next()?)?;
    let (remote, remote_port) = end(words.next()?)?;
    let listens = match (words.next()?, protocol) {
        (ESTABLISHED, _) => false,
        (LISTEN, TCP) => true,
        (CLOSE, UDP) => !(picked.0..=picked.1).contains(&local_port),
        _ => return None,
    };
    let inode = words.nth(5)?.parse().ok()?;
    let tuple = Tuple { protocol, local, local_port, remote, remote_port };
    Some((inode, (tuple, listens)))
}

/// Parses `ADDRESS:PORT` in hexadecimal; an address is words of 32 bits in the host's byte order.
fn end(text: &str) -> Option<([u8; 16], u16)> {
    let (address, port) = text.split_once(':')?;
    let words: Option<Vec<u32>> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok())
        .collect();
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some((Address::from(ip).0, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    #[test]
    fn lines_are_parsed() {
        let tcp = |text| line(text, TCP, PICKED);
        let v4 = "  0: 0100007F:1F90 0200000A:C350 01 00000000:00000000 00:00000000 00000000 \
                  0 0 4711 1 0000000000000000 20 4 30 10 -1";
        let (inode, (tuple, listens)) = tcp(v4).unwrap();
        assert_eq!(
            (inode, listens, tuple.local_port, tuple.remote_port),
            (4711, false, 8080, 50000)
        );
        assert_eq!(Address(tuple.local).to_ip().to_string(), "127.0.0.1");
        assert_eq!(Address(tuple.remote).to_ip().to_string(), "10.0.0.2");
        let (v6, port) = end("B80D0120000000000000000001000000:0050").unwrap();
        assert_eq!((Address(v6).to_ip().to_string(), port), ("2001:db8::1".to_owned(), 80));
        assert_eq!(tcp("0: 0100007F:1F90 0200000A:C350 06 0:0 0:0 0 0 0 1"), None);
        assert_eq!((tcp(""), end("XYZ:1"), end("0100007F")), (None, None, None));
    }

    #[test]
    fn a_datagram_socket_on_a_port_of_its_own_choice_listens() {
        let listens = |text: &str| line(text, UDP, PICKED).map(|(_, (_, listens))| listens);
        let rest = "00000000:0000 07 0:0 0:0 0 0 0 12 2 0 0";
        assert_eq!(listens(&format!("7: 00000000:0035 {rest}")), Some(true));
        assert_eq!(listens(&format!("7: 00000000:C350 {rest}")), Some(false));
        assert_eq!(line(&format!("7: 00000000:0035 {rest}"), TCP, PICKED), None);
    }

    #[test]
    fn sockets_of_this_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let datagrams = UdpSocket::bind("[::1]:0").unwrap();
        let OpenSockets { home, sockets } = open_sockets(None, &[std::process::id()]);
        let port = address.port();
        assert!(sockets.iter().any(|s| s.listens && s.tuple.local_port == port));
        let find = |protocol, port| {
            let fits = |s: &&OpenSocket| (s.tuple.protocol, s.tuple.local_port) == (protocol, port);
            *sockets.iter().find(fits).unwrap()
        };
        let ours = find(TCP, client.local_addr().unwrap().port());
        assert_eq!(
            (ours.tuple.remote_port, ours.listens, ours.pid, ours.netns),
            (port, false, std::process::id(), home)
        );
        let udp = find(UDP, datagrams.local_addr().unwrap().port());
        assert_eq!((udp.tuple.remote_port, udp.pid), (0, std::process::id()));
        assert_eq!(Address(udp.tuple.local).to_ip().to_string(), "::1");
    }
}
