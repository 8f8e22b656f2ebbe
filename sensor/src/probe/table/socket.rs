//! Hooks on sockets.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[
    Hook {
        name: "socket",
        signal: Signal::Socket,
        required: true,
        lost: "which process connects, listens and accepts, so flows have no process",
        ways: &[
            Way::RawTracepoint { program: "socket", hook: "inet_sock_set_state" },
            Way::Tracepoint {
                program: "socket_tracepoint",
                category: "sock",
                hooks: &["inet_sock_set_state"],
            },
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "use",
        signal: Signal::Use,
        required: false,
        lost: "bytes per process and socket, who serves a connection, and the process of UDP",
        ways: &[
            Way::All(&[
                Way::RawTracepoint { program: "sent", hook: "sock_send_length" },
                Way::RawTracepoint { program: "received", hook: "sock_recv_length" },
            ]),
            Way::All(&[
                Way::Tracepoint {
                    program: "sent_tracepoint",
                    category: "sock",
                    hooks: &["sock_send_length"],
                },
                Way::Tracepoint {
                    program: "received_tracepoint",
                    category: "sock",
                    hooks: &["sock_recv_length"],
                },
            ]),
            Way::All(&[
                Way::Fexit { program: "sent_fexit", function: "inet_sendmsg" },
                Way::Fexit { program: "received_fexit", function: "inet_recvmsg" },
                // Absent without IPv6, and since 6.5 files are sent as messages.
                Way::Most(&[
                    Way::Fexit { program: "sent6_fexit", function: "inet6_sendmsg" },
                    Way::Fexit { program: "received6_fexit", function: "inet6_recvmsg" },
                    Way::Fexit { program: "sent_page_fexit", function: "inet_sendpage" },
                ]),
            ]),
            Way::All(&[
                Way::Kprobe { program: "datagram_received", function: "skb_consume_udp" },
                Way::Kprobe { program: "stream_received", function: "tcp_cleanup_rbuf" },
                Way::Kprobe { program: "send_begins", function: "inet_sendmsg" },
                Way::Kretprobe { program: "send_ends", function: "inet_sendmsg" },
                Way::Most(&[
                    Way::All(&[
                        Way::Kprobe { program: "send_begins", function: "inet6_sendmsg" },
                        Way::Kretprobe { program: "send_ends", function: "inet6_sendmsg" },
                    ]),
                    Way::All(&[
                        Way::Kprobe { program: "send_begins", function: "inet_sendpage" },
                        Way::Kretprobe { program: "send_ends", function: "inet_sendpage" },
                    ]),
                ]),
            ]),
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "splice",
        signal: Signal::Use,
        required: false,
        lost: "bytes that a process splices out of a connection",
        ways: &[Way::Fexit { program: "spliced_fexit", function: "tcp_splice_read" }],
        unneeded: always_needed,
    },
];
