//! The hook on requests to io_uring.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: "uring",
    signal: Signal::Uring,
    required: false,
    lost: "what processes do through io_uring instead of by system calls",
    ways: &[
        Way::RawTracepoint { program: "uring", hook: "io_uring_submit_req" },
        // Its name before 6.4.
        Way::RawTracepoint { program: "uring", hook: "io_uring_submit_sqe" },
    ],
    unneeded: always_needed,
}];
