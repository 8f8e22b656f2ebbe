//! TCP sockets that connect, accept, listen and close, with the process that owns them.
//!
//! Most changes happen in softirq, where the running task has nothing to do with the socket. So the
//! owner is remembered where a system call changes the state (to SYN_SENT, LISTEN, FIN_WAIT1 or
//! LAST_ACK) and taken from there when the change that matters comes.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_ktime_get_boot_ns,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    fault::Fault,
    record::{Header, Socket, kind, socket_event},
    seen::Signal,
};

use crate::{
    fault,
    kernel::field,
    maps::{LISTENERS, ListenKey, OWNERS, Owner, PROCESS},
    ring, scope,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub const IPPROTO_TCP: u16 = 6;

/// The kernel's TCP states, as `include/net/tcp_states.h` numbers them.
mod state {
    pub const ESTABLISHED: i32 = 1;
    pub const SYN_SENT: i32 = 2;
    pub const SYN_RECV: i32 = 3;
    pub const FIN_WAIT1: i32 = 4;
    pub const CLOSE: i32 = 7;
    pub const LAST_ACK: i32 = 9;
    pub const LISTEN: i32 = 10;
}

/// Where the plain tracepoint keeps its arguments (`events/sock/inet_sock_set_state/format`).
mod plain {
    pub const SOCK: usize = 8;
    pub const OLD: usize = 16;
    pub const NEW: usize = 20;
}

/// Preferred: needs no tracefs. match-proto: inet_sock_set_state(sk, oldstate, newstate)
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn socket(ctx: RawTracePointContext) -> i32 {
    try_socket(ctx.arg::<u64>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn socket_tracepoint(ctx: TracePointContext) -> i32 {
    // SAFETY: the offsets are those of the tracepoint's own record.
    let read =
        unsafe { (ctx.read_at(plain::SOCK), ctx.read_at(plain::OLD), ctx.read_at(plain::NEW)) };
    if let (Ok(sock), Ok(old), Ok(new)) = read {
        try_socket(sock, old, new);
    }
    0
}

#[inline(always)]
fn try_socket(sock: u64, old: i32, new: i32) {
    if field!(sock, sock_protocol => u16) != IPPROTO_TCP {
        return;
    }
    let net = field!(sock, sock_net => u64);
    let netns = field!(net, net_inum => u32);
    if !scope::netns(netns) {
        return;
    }
    match (old, new) {
        (_, state::SYN_SENT | state::FIN_WAIT1 | state::LAST_ACK) => remember(sock),
        (_, state::LISTEN) => listen(sock, netns),
        (state::LISTEN, state::CLOSE) => listen_closed(sock, netns),
        (state::SYN_SENT, state::ESTABLISHED) => {
            report(sock, netns, socket_event::CONNECTED, take(sock));
        }
        (state::SYN_SENT, state::CLOSE) => {
            report(sock, netns, socket_event::CONNECT_FAILED, take(sock));
        }
        (state::SYN_RECV, state::ESTABLISHED) => opened(sock, netns),
        (state::SYN_RECV, state::CLOSE) => {
            take(sock);
        }
        (_, state::CLOSE) if old != state::CLOSE => {
            report(sock, netns, socket_event::CLOSED, take(sock));
        }
        _ => {}
    }
}

/// Keeps the running process as the socket's owner, if it is watched.
#[inline(always)]
fn remember(sock: u64) {
    if !scope::task() {
        return;
    }
    if OWNERS.insert(&sock, &current(sock), u64::from(BPF_ANY)).is_err() {
        fault::count(Fault::SocketTableFull);
    }
}

/// Forgets the socket's owner and returns it, or [`Owner::NONE`].
#[inline(always)]
fn take(sock: u64) -> Owner {
    // SAFETY: the value is copied out before anything removes it; states of one socket change under
    // its lock.
    let owner = unsafe { OWNERS.get(&sock) }.copied().unwrap_or(Owner::NONE);
    let _absent = OWNERS.remove(&sock);
    owner
}

#[inline(always)]
fn current(sock: u64) -> Owner {
    let header = scope::header(kind::SOCKET);
    Owner {
        start_ns: header.start_ns,
        cgroup_id: header.cgroup_id,
        sock,
        tgid: header.tgid,
        tid: header.tid,
        uid: header.uid,
        reserved: 0,
    }
}

#[inline(always)]
fn listen_key(sock: u64, netns: u32) -> ListenKey {
    // An IPv6 listener takes IPv4 connections too, so the family is not part of the key.
    ListenKey { netns, port: u32::from(local_port(sock)) }
}

#[inline(always)]
fn listen(sock: u64, netns: u32) {
    if !scope::task() {
        return;
    }
    let owner = current(sock);
    if LISTENERS.insert(&listen_key(sock, netns), &owner, u64::from(BPF_ANY)).is_err() {
        fault::count(Fault::SocketTableFull);
    }
    report(sock, netns, socket_event::LISTEN, owner);
}

#[inline(always)]
fn listen_closed(sock: u64, netns: u32) {
    let key = listen_key(sock, netns);
    // SAFETY: copied out before the removal below.
    let owner = unsafe { LISTENERS.get(&key) }.copied().unwrap_or(Owner::NONE);
    // Listeners can share a port; the entry belongs to the one that came last.
    let closed = owner.sock == sock;
    if closed {
        let _absent = LISTENERS.remove(&key);
    }
    // A listener is closed by a process that holds it.
    let owner = if closed { owner } else { current(sock) };
    report(sock, netns, socket_event::LISTEN_CLOSED, owner);
}

/// A handshake ended that a peer began, or that both sides began at once.
#[inline(always)]
fn opened(sock: u64, netns: u32) {
    let owner = take(sock);
    if owner.tgid != 0 {
        report(sock, netns, socket_event::CONNECTED, owner);
        return;
    }
    let key = listen_key(sock, netns);
    // SAFETY: copied out at once.
    let owner = unsafe { LISTENERS.get(&key) }.copied().unwrap_or(Owner::NONE);
    report(sock, netns, socket_event::ACCEPTED, owner);
}

#[inline(always)]
fn report(sock: u64, netns: u32, event: u8, owner: Owner) {
    // Only the owner tells whether a socket is below the watched cgroup.
    if owner.tgid == 0 && scope::by_cgroup_only() {
        return;
    }
    let family = field!(sock, sock_family => u16);
    if !is_internet(family) {
        return;
    }
    fault::seen(Signal::Socket);
    let remote_addr = remote_addr(sock, family);
    let record = Socket {
        header: Header {
            kind: kind::SOCKET,
            tgid: owner.tgid,
            // SAFETY: the helper has no preconditions.
            time_ns: unsafe { bpf_ktime_get_boot_ns() },
            start_ns: owner.start_ns,
            cgroup_id: owner.cgroup_id,
            tid: owner.tid,
            uid: owner.uid,
        },
        local_addr: local_addr(sock, family),
        remote_addr,
        netns,
        sock: sock as u32,
        local_port: local_port(sock),
        remote_port: remote_port(sock),
        family: version(&remote_addr),
        protocol: IPPROTO_TCP as u8,
        event,
        reserved: 0,
    };
    ring::submit::<Socket, _, _>(&PROCESS, Signal::Socket, record);
}

/// Returns whether a socket of this family has addresses and ports.
#[inline(always)]
pub fn is_internet(family: u16) -> bool {
    family == AF_INET || family == AF_INET6
}

/// Returns the peer's address, v4-mapped for IPv4.
#[inline(always)]
pub fn remote_addr(sock: u64, family: u16) -> [u8; 16] {
    if family == AF_INET {
        return mapped(field!(sock, sock_daddr => [u8; 4]));
    }
    field!(sock, sock_v6_daddr => [u8; 16])
}

/// Returns the local address, v4-mapped for IPv4; unspecified when the socket is bound to all.
#[inline(always)]
pub fn local_addr(sock: u64, family: u16) -> [u8; 16] {
    if family == AF_INET {
        return mapped(field!(sock, sock_saddr => [u8; 4]));
    }
    field!(sock, sock_v6_saddr => [u8; 16])
}

/// Returns the peer's port.
#[inline(always)]
pub fn remote_port(sock: u64) -> u16 {
    u16::from_be(field!(sock, sock_dport => u16))
}

/// Returns the local port. The kernel clears `skc_num` when a port is released, before it reports
/// CLOSE; `inet_sport` stays.
#[inline(always)]
pub fn local_port(sock: u64) -> u16 {
    let port = u16::from_be(field!(sock, inet_sport => u16));
    if port == 0 { field!(sock, sock_num => u16) } else { port }
}

#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Returns the IP version of an address. An IPv6 socket that speaks IPv4 has mapped addresses.
#[inline(always)]
pub fn version(address: &[u8; 16]) -> u8 {
    if is_mapped(address) { 4 } else { 6 }
}

#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    matches!(*address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
}
