//! Hooks on sockets.

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: "socket",
    signal: "socket",
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
}];
