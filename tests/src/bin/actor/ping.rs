//! IPv6 echo requests, because the distribution's `ping` may not be installed.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::TimeVal;

/// ICMPv6 type of an echo request.
const ECHO_REQUEST: u8 = 128;
/// ICMPv6 type of an echo reply.
const ECHO_REPLY: u8 = 129;
/// Longest wait for one message, in seconds.
const TIMEOUT_S: i64 = 5;
/// Other ICMPv6 messages, such as neighbour discovery, that may come before the reply.
const OTHERS_MAX: u32 = 64;

/// Sends requests one after the other and waits for each reply.
pub fn ping(target: Ipv6Addr, count: u16) -> Result<()> {
    let socket =
        socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)
            .context("failed to open a raw socket")?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(TIMEOUT_S, 0))?;
    let address = SockaddrIn6::from(SocketAddrV6::new(target, 0, 0, 0));
    for sequence in 0..count {
        let [high, low] = sequence.to_be_bytes();
        // The kernel fills in the checksum of a raw ICMPv6 socket.
        let request = [ECHO_REQUEST, 0, 0, 0, 0x5a, 0x4b, high, low];
        sendto(socket.as_raw_fd(), &request, &address, MsgFlags::empty())?;
        let expected = [0x5a, 0x4b, high, low];
        let mut message = [0; 256];
        let replied = (0..OTHERS_MAX).any(|_| {
            let length = recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()).unwrap_or(0);
            length >= 8 && message[0] == ECHO_REPLY && message[4..8] == expected
        });
        anyhow::ensure!(replied, "{target} did not reply");
    }
    Ok(())
}
