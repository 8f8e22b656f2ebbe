//! The sockets that tell which interfaces a network namespace has, and when that changes. A socket
//! stays in the namespace in which it was made.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
        socket,
    },
};
use zerocopy::IntoBytes as _;

use super::link::{Link, Message, Request, messages};

/// The multicast group of changes of interfaces (`RTMGRP_LINK`).
const GROUP_LINK: u32 = 1;
/// Larger than any datagram of the kernel's answers, which are at most 32 KiB.
const DATAGRAM_MAX: usize = 64 * 1024;
/// Interfaces that are taken notice of. A namespace with more is a host of ten thousand containers.
const LINKS_MAX: usize = 16_384;
/// Datagrams read in one call. Who changes interfaces without end must not keep the sensor busy.
const DATAGRAMS_MAX: usize = 256;

/// What was heard since the last call.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Something changed, or may have.
    pub(super) changed: bool,
    /// Interfaces that are gone; another one may have got their number by now.
    pub(super) gone: Vec<u32>,
}

/// Asks for interfaces, and hears of changes.
#[derive(Debug)]
pub(super) struct Netlink {
    requests: OwnedFd,
    changes: OwnedFd,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens both sockets in the calling thread's namespace.
    pub(super) fn open() -> io::Result<Self> {
        let open = |flags, groups| -> io::Result<OwnedFd> {
            let flags = SockFlag::SOCK_CLOEXEC | flags;
            let protocol = SockProtocol::NetlinkRoute;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
            Ok(socket)
        };
        let requests = open(SockFlag::empty(), 0)?;
        let changes = open(SockFlag::SOCK_NONBLOCK, GROUP_LINK)?;
        Ok(Self { requests, changes, buffer: vec![0; DATAGRAM_MAX] })
    }

    /// Returns all interfaces.
    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        send(self.requests.as_raw_fd(), Request::new().as_bytes(), MsgFlags::empty())?;
        let mut links = Vec::new();
        loop {
            let length = recv(self.requests.as_raw_fd(), &mut self.buffer, MsgFlags::empty())?;
            let mut end = None;
            messages(&self.buffer[..length], |message| match message {
                Message::There(link) if links.len() < LINKS_MAX => links.push(link),
                Message::There(_) | Message::Gone(_) => {}
                Message::End(errno) => end = Some(errno),
            });
            match end {
                Some(0) => return Ok(links),
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
                None if length == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => {}
            }
        }
    }

    /// Returns what has changed since the last call, without waiting.
    pub(super) fn heard(&mut self) -> Heard {
        let mut heard = Heard::default();
        for _ in 0..DATAGRAMS_MAX {
            match recv(self.changes.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Ok(length) => {
                    heard.changed = true;
                    messages(&self.buffer[..length], |message| {
                        if let Message::Gone(index) = message {
                            heard.gone.push(index);
                        }
                    });
                }
                // More was said than the socket holds; what exactly shows when asking for all.
                Err(Errno::ENOBUFS) => heard.changed = true,
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        heard
    }
}

/// Returns the name of the driver of a physical interface in the calling thread's namespace; empty
/// when it does not tell.
pub(super) fn driver(name: &str) -> String {
    /// `ETHTOOL_GDRVINFO` and the length of its answer (linux/ethtool.h).
    const GET_DRIVER: u32 = 3;
    const DRIVER_AT: usize = 4;
    const DRIVER_LEN: usize = 32;
    const ANSWER_LEN: usize = 196;
    let flags = SockFlag::SOCK_CLOEXEC;
    let Ok(socket) = socket(AddressFamily::Inet, SockType::Datagram, flags, None) else {
        return String::new();
    };
    let mut answer = [0_u8; ANSWER_LEN];
    answer[..DRIVER_AT].copy_from_slice(&GET_DRIVER.to_ne_bytes());
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = answer.as_mut_ptr().cast();
    // SAFETY: the request and the answer that it points to live through the call, and the answer
    // has the length that the kernel fills for this command.
    let told = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) };
    let name = &answer[DRIVER_AT..DRIVER_AT + DRIVER_LEN];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(DRIVER_LEN);
    if told == 0 { String::from_utf8_lossy(&name[..end]).into_owned() } else { String::new() }
}
