//! Other tasks and open files, found by the numbers that a process passes to the kernel.

use crate::{
    kernel::{self, current_task, field, setting},
    scope,
};

/// `struct upid`: a number and the namespace in which it is one.
const UPID: u32 = 16;
/// Children of a node of the kernel's number tables, as a power of two (`XA_CHUNK_SHIFT`).
const NODE_BITS: u32 = 6;
/// Levels of such a table: process ids have up to 22 bits.
const LEVELS: u32 = 4;

/// A process, named for good.
pub struct Process {
    pub start_ns: u64,
    pub tgid: u32,
}

impl Process {
    /// Nobody, or not known.
    pub const NONE: Self = Self { start_ns: 0, tgid: 0 };

    /// The process that a task belongs to.
    #[inline(always)]
    pub fn of(task: u64) -> Self {
        if task == 0 {
            return Self::NONE;
        }
        Self { start_ns: scope::process_start(task), tgid: field!(task, task_tgid => u32) }
    }

    /// Returns whether it is the running task's.
    #[inline(always)]
    pub fn is_own(&self) -> bool {
        self.tgid == scope::current_tgid()
    }
}

/// Returns the task that the running task means by a number in its own namespace; 0 when there is
/// none. This is `find_task_by_vpid`, which programs on tracepoints may not call.
#[inline(always)]
pub fn by_number(number: u32) -> u64 {
    let pid = field!(current_task(), task_thread_pid => u64);
    let level = u64::from(field!(pid, pid_level => u32));
    let numbers: u32 = setting!(offsets.pid_numbers);
    let upid = pid.wrapping_add(u64::from(numbers)).wrapping_add(level * u64::from(UPID));
    let namespace = field!(upid, upid_ns => u64);
    of_pid(find(field!(namespace, pidns_numbers => u64), number))
}

/// Returns the task that a `struct pid` stands for.
#[inline(always)]
pub fn of_pid(pid: u64) -> u64 {
    let first = field!(pid, pid_tasks => u64);
    let links: u32 = setting!(offsets.task_pid_links);
    if first == 0 { 0 } else { first.wrapping_sub(u64::from(links)) }
}

/// Looks a number up in a table of the kernel's (an XArray), given its topmost entry.
#[inline(always)]
fn find(top: u64, number: u32) -> u64 {
    let mut entry = top;
    if !is_node(entry) {
        return if number == 0 { entry } else { 0 };
    }
    let shift = u32::from(field!(entry.wrapping_sub(2), xa_node_shift => u8)) & 31;
    if (u64::from(number) >> shift) >> NODE_BITS != 0 {
        return 0;
    }
    for _ in 0..LEVELS {
        if !is_node(entry) {
            break;
        }
        let node = entry.wrapping_sub(2);
        let shift = u32::from(field!(node, xa_node_shift => u8)) & 31;
        let place = (number >> shift) & ((1 << NODE_BITS) - 1);
        let slots: u32 = setting!(offsets.xa_node_slots);
        let slot = node.wrapping_add(u64::from(slots)).wrapping_add(u64::from(place) * 8);
        entry = kernel::read(slot, 0);
    }
    if is_node(entry) { 0 } else { entry }
}

/// Inner nodes are marked in the lowest bits of their address.
#[inline(always)]
fn is_node(entry: u64) -> bool {
    entry & 3 == 2
}

/// Returns the running task's table of open files.
#[inline(always)]
pub fn open_files() -> u64 {
    let files = field!(current_task(), task_files => u64);
    field!(files, files_fdt => u64)
}

/// Returns an open file of the running task; 0 when there is none.
#[inline(always)]
pub fn file(descriptor: u32) -> u64 {
    let table = open_files();
    if descriptor >= field!(table, fdt_max_fds => u32) {
        return 0;
    }
    let array = field!(table, fdt_fd => u64);
    kernel::read(array.wrapping_add(u64::from(descriptor) * 8), 0)
}

/// Returns the magic number of a file's file system.
#[inline(always)]
pub fn file_system(file: u64) -> u64 {
    let inode = field!(file, file_inode => u64);
    let sb = field!(inode, inode_sb => u64);
    field!(sb, sb_magic => u64)
}

/// Returns the start of a file's own name.
#[inline(always)]
pub fn file_name<const N: usize>(file: u64) -> [u8; N] {
    let entry = field!(file, file_dentry => u64);
    let mut name = [0; N];
    kernel::text(&mut name, field!(entry, dentry_name => u64), false);
    name
}
