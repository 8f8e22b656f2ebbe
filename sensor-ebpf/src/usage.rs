//! Bytes per socket and process: who really uses a connection, which is not always who opened it or
//! listens on its port.
//!
//! Counted where a call returns, since only then is known how much of it was done. A call costs one
//! lookup; what the socket is gets read once per interval.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_current_uid_gid,
        bpf_ktime_get_boot_ns,
    },
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    loss::Loss,
    record::{Header, Socket, kind, socket_event},
    seen::Signal,
    usage::{Use, UseKey},
};

use crate::{
    fault,
    kernel::{current_task, field},
    maps::{GENERATION, PROCESS, USERS, USES_EVEN, USES_MADE, USES_ODD},
    ring, scope, socket,
};

mod fexit;
mod kprobe;

/// This signal's entry of [`GENERATION`].
const SLOT: u32 = 2;
/// Flags of recv(2) whose bytes stay in the socket, or were never received by it.
const MSG_PEEK: u32 = 0x2;
const MSG_ERRQUEUE: u32 = 0x2000;

/// Which way bytes went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Sent,
    Received,
}

/// Where the plain tracepoints keep their arguments (`events/sock/sock_send_length/format`).
mod plain {
    pub const SOCK: usize = 8;
    pub const RESULT: usize = 20;
    pub const FLAGS: usize = 24;
}

/// Preferred, since 6.3. match-proto: sock_send_length(sk, ret, flags)
#[raw_tracepoint(tracepoint = "sock_send_length")]
pub fn sent(ctx: RawTracePointContext) -> i32 {
    count(Way::Sent, ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Preferred, since 6.3. match-proto: sock_recv_length(sk, ret, flags)
#[raw_tracepoint(tracepoint = "sock_recv_length")]
pub fn received(ctx: RawTracePointContext) -> i32 {
    count(Way::Received, ctx.arg(0), ctx.arg(1), ctx.arg(2));
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn sent_tracepoint(ctx: TracePointContext) -> u32 {
    plainly(Way::Sent, &ctx);
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn received_tracepoint(ctx: TracePointContext) -> u32 {
    plainly(Way::Received, &ctx);
    0
}

#[inline(always)]
fn plainly(way: Way, ctx: &TracePointContext) {
    // SAFETY: the offsets are those of the tracepoint's own record.
    let read = unsafe {
        (ctx.read_at(plain::SOCK), ctx.read_at(plain::RESULT), ctx.read_at(plain::FLAGS))
    };
    if let (Ok(sock), Ok(result), Ok(flags)) = read {
        count(way, sock, result, flags);
    }
}

/// Returns the protocol's half of a socket.
#[inline(always)]
pub fn sock_of(socket: u64) -> u64 {
    field!(socket, socket_sk => u64)
}

/// Counts a call that moved `result` bytes, or failed when that is negative.
#[inline(always)]
pub fn count(way: Way, sock: u64, result: i32, flags: u32) {
    if result < 0 || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return;
    }
    let family = field!(sock, sock_family => u16);
    if !socket::is_internet(family) {
        return;
    }
    // The end of a stream is no use of it, an empty datagram is.
    if result == 0 && field!(sock, sock_protocol => u16) == socket::IPPROTO_TCP {
        return;
    }
    // The hash is followed by the ports; wherever it is not, what follows tells sockets apart too.
    // The local one is left out: the kernel clears it while there may be something left to read.
    let ends = field!(sock, sock_hash => u64) & 0x0000_ffff_ffff_ffff;
    let key = UseKey { sock, ends, tgid: scope::current_tgid(), reserved: 0 };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let generation = GENERATION.get(SLOT).copied().unwrap_or(0);
    let even = generation & 1 == 0;
    let known = if even { USES_EVEN.get_ptr_mut(&key) } else { USES_ODD.get_ptr_mut(&key) };
    match known {
        Some(entry) => {
            fault::seen(Signal::Use);
            add(entry, way, result as u64, now);
        }
        None => begin(even, &key, way, result as u64, now),
    }
}

/// Adds a call to an entry. Other CPUs may add to it at the same time.
#[inline(always)]
fn add(entry: *mut Use, way: Way, bytes: u64, now: u64) {
    // SAFETY: an entry of the table, which outlives the program's run: the sensor empties a table
    // only when no program can still write it.
    unsafe {
        match way {
            Way::Sent => {
                fault::add(&raw mut (*entry).sent, bytes);
                fault::add(&raw mut (*entry).sends, 1);
            }
            Way::Received => {
                fault::add(&raw mut (*entry).received, bytes);
                fault::add(&raw mut (*entry).receives, 1);
            }
        }
        // Of two calls that end at once either may be the last.
        (*entry).last_ns = now;
    }
}

/// Makes the entry of a socket and process that have none in this interval. It is filled in place,
/// since it would take a third of the stack.
#[inline(always)]
fn begin(even: bool, key: &UseKey, way: Way, bytes: u64, now: u64) {
    static NEW: Use = Use::ZERO;
    let net = field!(key.sock, sock_net => u64);
    let netns = field!(net, net_inum => u32);
    if !scope::task() || !scope::netns(netns) {
        return;
    }
    fault::seen(Signal::Use);
    // Another CPU may have made the entry meanwhile; then this fails and the lookup finds it.
    let flags = u64::from(BPF_NOEXIST);
    let (made, entry) = if even {
        (USES_EVEN.insert(key, &NEW, flags), USES_EVEN.get_ptr_mut(key))
    } else {
        (USES_ODD.insert(key, &NEW, flags), USES_ODD.get_ptr_mut(key))
    };
    if made.is_ok()
        && let Some(total) = USES_MADE.get_ptr_mut(0)
    {
        fault::add(total, 1);
    }
    let Some(entry) = entry else {
        fault::lost(Signal::Use, Loss::TableFull);
        return;
    };
    // SAFETY: as in `add`. Two CPUs that fill the same entry write the same.
    unsafe {
        if (*entry).first_ns == 0 {
            (*entry).netns = netns;
            (*entry).first_ns = now;
            describe(key.sock, entry);
            if (*entry).protocol != socket::IPPROTO_TCP as u8 {
                announce(key, entry, way);
            }
        }
    }
    add(entry, way, bytes, now);
}

/// Fills in whose the socket is and what it connects.
///
/// # Safety
///
/// `entry` points to an entry of the table.
#[inline(always)]
unsafe fn describe(sock: u64, entry: *mut Use) {
    let family = field!(sock, sock_family => u16);
    // SAFETY: the caller's promise; the helper has no preconditions.
    unsafe {
        (*entry).start_ns = scope::process_start(current_task());
        (*entry).cgroup_id = bpf_get_current_cgroup_id();
        (*entry).uid = bpf_get_current_uid_gid() as u32;
        (*entry).local_addr = socket::local_addr(sock, family);
        (*entry).remote_addr = socket::remote_addr(sock, family);
        (*entry).local_port = socket::local_port(sock);
        (*entry).remote_port = socket::remote_port(sock);
        (*entry).protocol = field!(sock, sock_protocol => u16) as u8;
    }
}

/// Tells at once that a process uses a datagram socket, when it does so for the first time: what it
/// asks a name server is over before the counters are read. Connections tell when they open.
///
/// # Safety
///
/// `entry` points to an entry of the table that is described.
#[inline(always)]
unsafe fn announce(key: &UseKey, entry: *const Use, way: Way) {
    if USERS.insert(key, &0, u64::from(BPF_NOEXIST)).is_err() {
        return;
    }
    fault::seen(Signal::Socket);
    // SAFETY: the caller's promise.
    let record = unsafe {
        Socket {
            header: Header {
                kind: kind::SOCKET,
                tgid: key.tgid,
                time_ns: (*entry).first_ns,
                start_ns: (*entry).start_ns,
                cgroup_id: (*entry).cgroup_id,
                tid: bpf_get_current_pid_tgid() as u32,
                uid: (*entry).uid,
            },
            local_addr: (*entry).local_addr,
            remote_addr: (*entry).remote_addr,
            netns: (*entry).netns,
            sock: key.sock as u32,
            local_port: (*entry).local_port,
            remote_port: (*entry).remote_port,
            family: socket::version(&(*entry).remote_addr),
            protocol: (*entry).protocol,
            event: match way {
                Way::Sent => socket_event::SENT,
                Way::Received => socket_event::RECEIVED,
            },
            reserved: 0,
        }
    };
    ring::submit::<Socket, _, _>(&PROCESS, Signal::Socket, record);
}
