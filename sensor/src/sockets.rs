//! The TCP sockets that were open before the sensor started, from `/proc`, with their owners.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use wire::record::Address;

use crate::owner::{TCP, Tuple};
use crate::privileged::{self, ProcLink};

/// Lines read of a table of sockets; a host with more has flows whose owner is learnt later.
const LINES_MAX: usize = 100_000;
/// States in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";

/// An open socket and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSocket {
    /// Both ends.
    pub tuple: Tuple,
    /// Whether it listens.
    pub listens: bool,
    /// The process that holds it; of several, any.
    pub pid: u32,
}

/// Returns the sockets of a network namespace, `None` for this process's own.
pub fn open_sockets(netns: Option<&Path>, pids: &[u32]) -> Vec<OpenSocket> {
    let own = Path::new("/proc/self/ns/net");
    let Some(wanted) = inode(netns.unwrap_or(own)) else { return Vec::new() };
    let inside: Vec<u32> = (pids.iter().copied())
        .filter(|&pid| privileged::namespace(pid, ProcLink::NetNamespace) == Some(wanted))
        .collect();
    let Some(witness) = inside.first() else { return Vec::new() };
    let mut by_inode = HashMap::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{witness}/net/{table}"));
        by_inode.extend(text.unwrap_or_default().lines().skip(1).take(LINES_MAX).filter_map(line));
    }
    let mut sockets = Vec::new();
    for pid in inside {
        for inode in privileged::sockets(pid).unwrap_or_default() {
            // A socket that several processes hold is told once.
            if let Some((tuple, listens)) = by_inode.remove(&inode) {
                sockets.push(OpenSocket { tuple, listens, pid });
            }
        }
    }
    sockets
}

fn inode(path: &Path) -> Option<u64> {
    path.metadata().ok().map(|metadata| metadata.ino())
}

/// Parses a line of `/proc/net/tcp` or `tcp6` into the socket's inode, its ends, and whether it
/// listens; `None` for the states between.
fn line(text: &str) -> Option<(u64, (Tuple, bool))> {
    let mut words = text.split_ascii_whitespace().skip(1);
    let (local, local_port) = end(words.next()?)?;
    let (remote, remote_port) = end(words.next()?)?;
    let listens = match words.next()? {
        ESTABLISHED => false,
        LISTEN => true,
        _ => return None,
    };
    let inode = words.nth(5)?.parse().ok()?;
    let tuple = Tuple { protocol: TCP, local, local_port, remote, remote_port };
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
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn lines_are_parsed() {
        let v4 = "  0: 0100007F:1F90 0200000A:C350 01 00000000:00000000 00:00000000 00000000 \
                  0 0 4711 1 0000000000000000 20 4 30 10 -1";
        let (inode, (tuple, listens)) = line(v4).unwrap();
        assert_eq!(
            (inode, listens, tuple.local_port, tuple.remote_port),
            (4711, false, 8080, 50000)
        );
        assert_eq!(Address(tuple.local).to_ip().to_string(), "127.0.0.1");
        assert_eq!(Address(tuple.remote).to_ip().to_string(), "10.0.0.2");
        let (v6, port) = end("B80D0120000000000000000001000000:0050").unwrap();
        assert_eq!((Address(v6).to_ip().to_string(), port), ("2001:db8::1".to_owned(), 80));
        assert_eq!(line("0: 0100007F:1F90 0200000A:C350 06 0:0 0:0 0 0 0 1"), None);
        assert_eq!((line(""), end("XYZ:1"), end("0100007F")), (None, None, None));
    }

    #[test]
    fn sockets_of_this_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let sockets = open_sockets(None, &[std::process::id()]);
        let port = address.port();
        assert!(sockets.iter().any(|s| s.listens && s.tuple.local_port == port));
        let local = client.local_addr().unwrap().port();
        let ours = sockets.iter().find(|s| s.tuple.local_port == local).unwrap();
        assert_eq!(
            (ours.tuple.remote_port, ours.listens, ours.pid),
            (port, false, std::process::id())
        );
    }
}
