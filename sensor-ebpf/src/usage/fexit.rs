//! Uses of sockets where the calls of the socket layer end: stands in before 6.3.

use aya_ebpf::{macros::fexit, programs::FExitContext};

use super::{Way, count, sock_of};

/// match-proto: int inet_sendmsg(struct socket *sock, struct msghdr *msg,
/// size_t size)
#[fexit(function = "inet_sendmsg")]
pub fn sent_fexit(ctx: FExitContext) -> i32 {
    count(Way::Sent, sock_of(ctx.arg(0)), ctx.arg(3), 0);
    0
}

/// match-proto: int inet6_sendmsg(struct socket *sock, struct msghdr *msg, size_t size)
#[fexit(function = "inet6_sendmsg")]
pub fn sent6_fexit(ctx: FExitContext) -> i32 {
    count(Way::Sent, sock_of(ctx.arg(0)), ctx.arg(3), 0);
    0
}

/// Files that are sent, before 6.5. match-proto: ssize_t inet_sendpage(struct socket *sock,
/// struct page *page, int offset, size_t size, int flags)
#[fexit(function = "inet_sendpage")]
pub fn sent_page_fexit(ctx: FExitContext) -> i32 {
    count(Way::Sent, sock_of(ctx.arg(0)), ctx.arg(5), 0);
    0
}

/// match-proto: int inet_recvmsg(struct socket *sock, struct msghdr *msg, size_t size,
/// int flags)
#[fexit(function = "inet_recvmsg")]
pub fn received_fexit(ctx: FExitContext) -> i32 {
    count(Way::Received, sock_of(ctx.arg(0)), ctx.arg(4), ctx.arg(3));
    0
}

/// match-proto: int inet6_recvmsg(struct socket *sock, struct msghdr *msg, size_t size,
/// int flags)
#[fexit(function = "inet6_recvmsg")]
pub fn received6_fexit(ctx: FExitContext) -> i32 {
    count(Way::Received, sock_of(ctx.arg(0)), ctx.arg(4), ctx.arg(3));
    0
}

/// Beside all of them: what a process splices out of a socket passes none of the others.
/// match-proto: ssize_t tcp_splice_read(struct socket *sock, loff_t *ppos,
/// struct pipe_inode_info *pipe, size_t len, unsigned int flags)
#[fexit(function = "tcp_splice_read")]
pub fn spliced_fexit(ctx: FExitContext) -> i32 {
    count(Way::Received, sock_of(ctx.arg(0)), ctx.arg(5), 0);
    0
}
