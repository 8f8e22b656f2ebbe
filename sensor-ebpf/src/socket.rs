//! TCP sockets that connect, accept, listen and close, with the process that owns them.
//!
//! Most changes happen in softirq, where the running task has nothing to do with the socket. So the
//! owner is remembered where a system call changes the state (to SYN_SENT, LISTEN, FIN_WAIT1 or
//! LAST_ACK) and taken from there when the change that matters comes.

use aya_ebpf::{
    EbpfContext,
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
    exec::NO_WAKEUP,
    fault,
    kernel::field,
    maps::{LISTENERS, ListenKey, OWNERS, Owner, PROCESS},
    scope,
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const IPPROTO_TCP: u8 = 6;

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
    try_socket(&ctx, ctx.arg::<u64>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn socket_tracepoint(ctx: TracePointContext) -> i32 {
    // SAFETY: the offsets are those of the tracepoint's own record.
    let read =
        unsafe { (ctx.read_at(plain::SOCK), ctx.read_at(plain::OLD), ctx.read_at(plain::NEW)) };
    if let (Ok(sock), Ok(old), Ok(new)) = read {
        try_socket(&ctx, sock, old, new);
    }
    0
}

#[inline(always)]
fn try_socket<C: EbpfContext>(ctx: &C, sock: u64, old: i32, new: i32) {
    if field!(sock, sock_protocol => u8).unwrap_or(IPPROTO_TCP) != IPPROTO_TCP {
        return;
    }
    let net = field!(sock, sock_net => u64).unwrap_or(0);
    let netns = field!(net, net_inum => u32).unwrap_or(0);
    if !scope::netns(netns) {
        return;
    }
    match (old, new) {
        (_, state::SYN_SENT | state::FIN_WAIT1 | state::LAST_ACK) => remember(sock),
        (_, state::LISTEN) => listen(ctx, sock, netns),
        (state::LISTEN, state::CLOSE) => listen_closed(ctx, sock, netns),
        (state::SYN_SENT, state::ESTABLISHED) => {
            report(ctx, sock, socket_event::CONNECTED, take(sock));
        }
        (state::SYN_SENT, state::CLOSE) => {
            report(ctx, sock, socket_event::CONNECT_FAILED, take(sock));
        }
        (state::SYN_RECV, state::ESTABLISHED) => opened(ctx, sock, netns),
        (state::SYN_RECV, state::CLOSE) => {
            take(sock);
        }
        (_, state::CLOSE) if old != state::CLOSE => {
            report(ctx, sock, socket_event::CLOSED, take(sock));
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

/// Forgets the socket's owner and returns it.
#[inline(always)]
fn take(sock: u64) -> Option<Owner> {
    // SAFETY: the value is copied out before anything removes it; states of one socket change under
    // its lock.
    let owner = unsafe { OWNERS.get(&sock) }.copied()?;
    let _absent = OWNERS.remove(&sock);
    Some(owner)
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
fn listen<C: EbpfContext>(ctx: &C, sock: u64, netns: u32) {
    if !scope::task() {
        return;
    }
    let owner = current(sock);
    if LISTENERS.insert(&listen_key(sock, netns), &owner, u64::from(BPF_ANY)).is_err() {
        fault::count(Fault::SocketTableFull);
    }
    report(ctx, sock, socket_event::LISTEN, Some(owner));
}

#[inline(always)]
fn listen_closed<C: EbpfContext>(ctx: &C, sock: u64, netns: u32) {
    let key = listen_key(sock, netns);
    // SAFETY: copied out before the removal below.
    let owner = unsafe { LISTENERS.get(&key) }.copied();
    // Listeners can share a port; the entry belongs to the one that came last.
    if owner.is_some_and(|owner| owner.sock == sock) {
        let _absent = LISTENERS.remove(&key);
    }
    report(ctx, sock, socket_event::LISTEN_CLOSED, owner);
}

/// A handshake ended that a peer began, or that both sides began at once.
#[inline(always)]
fn opened<C: EbpfContext>(ctx: &C, sock: u64, netns: u32) {
    if let Some(owner) = take(sock) {
        report(ctx, sock, socket_event::CONNECTED, Some(owner));
        return;
    }
    // SAFETY: copied out at once.
    let owner = unsafe { LISTENERS.get(&listen_key(sock, netns)) }.copied();
    report(ctx, sock, socket_event::ACCEPTED, owner);
}

#[inline(always)]
fn report<C: EbpfContext>(ctx: &C, sock: u64, event: u8, owner: Option<Owner>) {
    // Only the owner tells whether a socket is below the watched cgroup.
    if owner.is_none() && scope::by_cgroup_only() {
        return;
    }
    let family = field!(sock, sock_family => u16).unwrap_or(0);
    let Some(ends) = ends(sock, family) else {
        return;
    };
    fault::seen(Signal::Socket);
    let record = Socket {
        header: header(owner),
        local_addr: ends.local_addr,
        remote_addr: ends.remote_addr,
        local_port: ends.local_port,
        remote_port: ends.remote_port,
        family: ends.version,
        protocol: IPPROTO_TCP,
        event,
        reserved: 0,
    };
    if PROCESS.output_untyped::<Socket>(record, NO_WAKEUP).is_err() {
        fault::count(Fault::ProcessRingFull);
        aya_log_ebpf::debug!(ctx, "process ring full: a socket record was lost");
    }
}

#[inline(always)]
fn header(owner: Option<Owner>) -> Header {
    let mut header = Header {
        kind: kind::SOCKET,
        tgid: 0,
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        start_ns: 0,
        cgroup_id: 0,
        tid: 0,
        uid: 0,
    };
    if let Some(owner) = owner {
        header.tgid = owner.tgid;
        header.start_ns = owner.start_ns;
        header.cgroup_id = owner.cgroup_id;
        header.tid = owner.tid;
        header.uid = owner.uid;
    }
    header
}

/// Both ends of a socket, v4-mapped for IPv4.
pub struct Ends {
    pub local_addr: [u8; 16],
    pub remote_addr: [u8; 16],
    pub local_port: u16,
    pub remote_port: u16,
    /// IP version: 4 also for an IPv6 socket that speaks IPv4.
    pub version: u8,
}

/// Reads the ends of an internet socket; `None` for any other family.
#[inline(always)]
pub fn ends(sock: u64, family: u16) -> Option<Ends> {
    let (local_addr, remote_addr, version) = match family {
        AF_INET => {
            let local = field!(sock, sock_saddr => [u8; 4]).unwrap_or([0; 4]);
            let remote = field!(sock, sock_daddr => [u8; 4]).unwrap_or([0; 4]);
            (mapped(local), mapped(remote), 4)
        }
        AF_INET6 => {
            let local = field!(sock, sock_v6_saddr => [u8; 16]).unwrap_or([0; 16]);
            let remote = field!(sock, sock_v6_daddr => [u8; 16]).unwrap_or([0; 16]);
            (local, remote, if is_mapped(&remote) { 4 } else { 6 })
        }
        _ => return None,
    };
    let remote_port = field!(sock, sock_dport => [u8; 2]).map_or(0, u16::from_be_bytes);
    Some(Ends { local_addr, remote_addr, local_port: local_port(sock), remote_port, version })
}

/// The kernel clears `skc_num` when a port is released, before it reports CLOSE; `inet_sport` stays.
#[inline(always)]
fn local_port(sock: u64) -> u16 {
    let port = field!(sock, inet_sport => [u8; 2]).map_or(0, u16::from_be_bytes);
    if port != 0 { port } else { field!(sock, sock_num => u16).unwrap_or(0) }
}

#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..] = *address else {
        return false;
    };
    true
}
