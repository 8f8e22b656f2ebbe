//! Keeps the storm of one cgroup from taking the rings from all others.
//!
//! Each cgroup has an allowance per signal: a steady rate, and a burst on top. What goes beyond is
//! counted as throttled and gets no record. The aggregates go on.

use aya_ebpf::bindings::BPF_ANY;
use sensor_abi::{loss::Loss, record::Header, seen::Signal};

use crate::{fault, maps::ALLOWANCES};

/// What a cgroup may report at once and per second.
struct Limit {
    signal: Signal,
    /// Index in the cgroup's entry.
    index: usize,
    /// Time that one record takes of the allowance.
    interval_ns: u64,
    /// Allowance that can be used up at once.
    burst_ns: u64,
}

impl Limit {
    const fn new(signal: Signal, index: usize, per_second: u64, burst: u64) -> Self {
        let interval_ns = 1_000_000_000 / per_second;
        Self { signal, index, interval_ns, burst_ns: burst * interval_ns }
    }
}

/// Executions matter one by one, so this is far above what a build does. Between two polls (50 ms)
/// one cgroup fills at most some three quarters of the security ring.
const EXEC: Limit = Limit::new(Signal::Exec, 0, 10_000, 2_048);
/// A fork that no execution follows says little. Both bursts together are half of the process ring.
const FORK: Limit = Limit::new(Signal::Fork, 1, 2_000, 4_096);
/// As forks: every process that begins ends.
const EXIT: Limit = Limit::new(Signal::Exit, 2, 2_000, 4_096);
/// Limits in a cgroup's entry, and one to fill it up to a power of two.
pub const LIMITS: usize = 4;

/// Returns whether an execution may be reported; counts it as lost when not.
#[inline(always)]
pub fn exec(header: &Header) -> bool {
    admit(&EXEC, header.cgroup_id, header.time_ns)
}

/// Returns whether a fork may be reported, likewise.
#[inline(always)]
pub fn fork(header: &Header) -> bool {
    admit(&FORK, header.cgroup_id, header.time_ns)
}

/// Returns whether an exit may be reported, likewise.
#[inline(always)]
pub fn exit(header: &Header) -> bool {
    admit(&EXIT, header.cgroup_id, header.time_ns)
}

/// An entry holds the time until which the allowance is used up. It may lie up to a burst ahead.
/// Two CPUs can use the same moment twice; then a few records more are let through than planned.
#[inline(always)]
fn admit(limit: &Limit, cgroup: u64, now_ns: u64) -> bool {
    let Some(entry) = ALLOWANCES.get_ptr_mut(cgroup) else {
        let mut first = [0; LIMITS];
        first[limit.index] = now_ns + limit.interval_ns;
        // The table evicts, so that this fails only for want of memory; the record goes out.
        let _ = ALLOWANCES.insert(cgroup, first, u64::from(BPF_ANY));
        return true;
    };
    // SAFETY: a map value, which stays valid for the program's run.
    let used = unsafe { &raw mut (*entry)[limit.index] };
    // SAFETY: as above.
    let used_ns = unsafe { used.read_volatile() };
    let from_ns = if used_ns > now_ns { used_ns } else { now_ns };
    if from_ns - now_ns > limit.burst_ns {
        fault::lost(limit.signal, Loss::Throttled);
        return false;
    }
    // SAFETY: as above.
    unsafe { used.write_volatile(from_ns + limit.interval_ns) };
    true
}
