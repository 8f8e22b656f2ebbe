//! Which tasks and network namespaces the sensor watches.

use aya_ebpf::helpers::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
    bpf_get_current_uid_gid, bpf_ktime_get_boot_ns,
};
use sensor_abi::record::Header;

use crate::kernel::{current_task, field, setting};

/// Returns whether the running task is watched.
#[inline(always)]
pub fn task() -> bool {
    let own: u32 = setting!(self_tgid);
    if own != 0 && own == current_tgid() {
        return false;
    }
    cgroup()
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
