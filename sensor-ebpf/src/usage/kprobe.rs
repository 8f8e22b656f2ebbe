//! Uses of sockets by breakpoints: stands in where the ends of functions cannot be had.
//!
//! What is received is told by functions that the kernel calls once it is done, since threads wait
//! in the calls themselves for long, and the kernel watches only a few returns at once. Of what is
//! sent only the return tells; those that the kernel did not watch are counted as lost.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::bpf_get_current_pid_tgid,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use sensor_abi::{loss::Loss, seen::Signal};

use super::{Way, count, sock_of};
use crate::{
    fault,
    kernel::field,
    maps::{READ_UNTIL, ReadUntil, SENDING},
    scope,
};

/// match-proto: int inet_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
/// match-proto: int inet6_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
/// match-proto: ssize_t inet_sendpage(struct socket *sock, struct page *page, int offset,
/// size_t size, int flags)
#[kprobe]
pub fn send_begins(ctx: ProbeContext) -> u32 {
    let sock = sock_of(ctx.arg(0).unwrap_or(0));
    let net = field!(sock, sock_net => u64);
    if scope::task() && scope::netns(field!(net, net_inum => u32)) {
        begin(sock);
    }
    0
}

#[inline(always)]
fn begin(sock: u64) {
    let thread = bpf_get_current_pid_tgid();
    if SENDING.get_ptr(&thread).is_some() {
        fault::seen(Signal::Use);
        fault::lost(Signal::Use, Loss::ReturnMissed);
    }
    if SENDING.insert(&thread, &sock, u64::from(BPF_ANY)).is_err() {
        fault::seen(Signal::Use);
        fault::lost(Signal::Use, Loss::TableFull);
    }
}

/// When any of these functions returns.
#[kretprobe]
pub fn send_ends(ctx: RetProbeContext) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    // SAFETY: copied out before the removal.
    let sock = unsafe { SENDING.get(&thread) }.copied().unwrap_or(0);
    if sock != 0 {
        let _absent = SENDING.remove(&thread);
        count(Way::Sent, sock, ctx.ret(), 0);
    }
    0
}

/// match-proto: void skb_consume_udp(struct sock *sk, struct sk_buff *skb, int len)
#[kprobe]
pub fn datagram_received(ctx: ProbeContext) -> u32 {
    // The length is negative for a datagram that is only looked at.
    count(Way::Received, ctx.arg(0).unwrap_or(0), ctx.arg(2).unwrap_or(-1), 0);
    0
}

/// match-proto: void tcp_cleanup_rbuf(struct sock *sk, int copied)
#[kprobe]
pub fn stream_received(ctx: ProbeContext) -> u32 {
    let copied: i32 = ctx.arg(1).unwrap_or(0);
    if copied > 0 {
        try_stream_received(ctx.arg(0).unwrap_or(0), copied as u32);
    }
    0
}

/// The kernel tells what a call has copied so far, each time that the call waits for more, and also
/// what it has only looked at. So what counts is how far the socket has been read.
#[inline(always)]
fn try_stream_received(sock: u64, copied: u32) {
    let hash = field!(sock, sock_hash => u32);
    let read = field!(sock, tcp_copied_seq => u32);
    // SAFETY: copied out at once.
    let known = unsafe { READ_UNTIL.get(&sock) }.copied().unwrap_or(ReadUntil::NOTHING);
    let begin = if known.hash == hash && known.is_known != 0 {
        known.sequence
    } else {
        // Where the stream began.
        let arrived = field!(sock, tcp_bytes_received => u64) as u32;
        field!(sock, tcp_rcv_nxt => u32).wrapping_sub(arrived)
    };
    let now = ReadUntil { sequence: read, hash, is_known: 1, reserved: 0 };
    if READ_UNTIL.insert(&sock, &now, u64::from(BPF_ANY)).is_err() {
        fault::seen(Signal::Use);
        fault::lost(Signal::Use, Loss::TableFull);
        return;
    }
    // Of a stream that was read before the programs were there, only this call's part is known.
    let bytes = read.wrapping_sub(begin).min(copied);
    if bytes > 0 {
        count(Way::Received, sock, bytes as i32, 0);
    }
}
