//! Which tasks and network namespaces the sensor watches.

use core::{cell::UnsafeCell, ptr};

use aya_ebpf::helpers::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
    bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};
use sensor_abi::record::Header;

use crate::kernel::{current_task, field, setting};

/// Returns whether the running task is watched.
#[inline(always)]
pub fn task() -> bool {
    let tgid = current_tgid();
    if SELVES.has(0, tgid) || SELVES.has(1, tgid) {
        return false;
    }
    cgroup()
}

/// The sensor's own two processes, whose events are not reported. The sensor sets them whenever one
/// of them starts; in a section of its own, so that it finds them.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.selves")]
pub static SELVES: Selves = Selves(UnsafeCell::new([0; 2]));

/// Process ids that change while programs run.
#[repr(transparent)]
pub struct Selves(UnsafeCell<[u32; 2]>);

// SAFETY: programs only read, and each number is read whole.
unsafe impl Sync for Selves {}

impl Selves {
    #[inline(always)]
    fn has(&self, at: usize, tgid: u32) -> bool {
        // SAFETY: both callers pass an index inside the array, which the sensor writes behind the
        // compiler's back.
        tgid == unsafe { ptr::read_volatile(self.0.get().cast::<u32>().add(at)) }
    }
}

/// Returns whether the running task is below the watched cgroup.
#[inline(always)]
pub fn cgroup() -> bool {
    let id: u64 = setting!(scope_cgroup_id);
    if id == 0 {
        return true;
    }
    let level: u32 = setting!(scope_cgroup_level);
    // SAFETY: the helper has no preconditions; it returns 0 above the task's depth.
    id == unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) }
}

/// Returns whether sockets of this network namespace are watched.
#[inline(always)]
pub fn netns(inum: u32) -> bool {
    let scope: u32 = setting!(scope_netns);
    scope == 0 || scope == inum
}

/// Returns whether sockets are limited by their owner's cgroup and by nothing else.
#[inline(always)]
pub fn by_cgroup_only() -> bool {
    let id: u64 = setting!(scope_cgroup_id);
    let netns: u32 = setting!(scope_netns);
    id != 0 && netns == 0
}

/// Returns the running task's process id.
#[inline(always)]
pub fn current_tgid() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Returns the start of the process that a task belongs to, in nanoseconds since boot.
#[inline(always)]
pub fn process_start(task: u64) -> u64 {
    let leader = field!(task, task_group_leader => u64);
    field!(leader, task_start_boottime => u64)
}

/// Returns the header of a record about the running task.
#[inline(always)]
pub fn header(kind: u32) -> Header {
    let ids = bpf_get_current_pid_tgid();
    Header {
        kind,
        tgid: (ids >> 32) as u32,
        // SAFETY: the helper has no preconditions.
        time_ns: unsafe { bpf_ktime_get_boot_ns() },
        start_ns: process_start(current_task()),
        // SAFETY: as above.
        cgroup_id: unsafe { bpf_get_current_cgroup_id() },
        tid: ids as u32,
        uid: bpf_get_current_uid_gid() as u32,
    }
}
