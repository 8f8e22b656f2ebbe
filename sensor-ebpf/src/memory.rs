//! Memory touched in a way that injection and fileless execution need.

use sensor_abi::{
    act::{flag, memory as action},
    record::{
        Stdio, kind,
        memory::{MEMORY_NAME_LEN, Memory},
    },
    seen::Signal,
};

use crate::{
    act,
    call::{Call, on_call},
    kernel::{current_task, field, text},
    maps::SECURITY,
    ring, scope, stdio,
    task::{self, Process},
};

mod mapping;
mod proc_mem;

pub use self::proc_mem::opened;

/// Requests of ptrace(2), of x86 where architectures differ.
mod request {
    pub const TRACE_ME: u32 = 0;
    pub const PEEK_TEXT: u32 = 1;
    pub const PEEK_DATA: u32 = 2;
    pub const PEEK_USER: u32 = 3;
    pub const POKE_TEXT: u32 = 4;
    pub const POKE_DATA: u32 = 5;
    pub const POKE_USER: u32 = 6;
    pub const CONTINUE: u32 = 7;
    pub const GET_REGISTERS: u32 = 12;
    pub const SET_REGISTERS: u32 = 13;
    pub const GET_FLOATS: u32 = 14;
    pub const SET_FLOATS: u32 = 15;
    pub const ATTACH: u32 = 16;
    pub const DETACH: u32 = 17;
    pub const GET_REGISTER_SET: u32 = 0x4204;
    pub const SET_REGISTER_SET: u32 = 0x4205;
    pub const SEIZE: u32 = 0x4206;
}

/// `F_DUPFD` and `F_DUPFD_CLOEXEC` of fcntl(2).
const DUPLICATES: [u32; 2] = [0, 1030];
/// Standard input, output and error.
const STREAMS: i64 = 3;
const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const AF_UNIX: u16 = 1;
const AF_NETLINK: u16 = 16;
/// Acts of one kind on one target that a process has told within a tick, on each CPU. One, because
/// targets are many.
const TOLD_OF_TARGET: u64 = 1;
/// The same of acts that have no target: as many memory files as a program unpacks at its start.
const TOLD_MAX: u64 = 16;

on_call! {
    /// match-proto: ptrace(long request, long pid, unsigned long addr, unsigned long data)
    ptrace, ptrace_returned => try_ptrace;
    /// match-proto: process_vm_readv(pid_t pid, const struct iovec __user *lvec,
    peer_read, peer_read_returned => |call| try_peer(call, action::VM_READ);
    /// match-proto: process_vm_writev(pid_t pid, const struct iovec __user *lvec,
    peer_write, peer_write_returned => |call| try_peer(call, action::VM_WRITE);
    /// match-proto: memfd_create(const char __user *uname, unsigned int flags)
    memory_file, memory_file_returned => try_memory_file;
    /// match-proto: dup3(unsigned int oldfd, unsigned int newfd, int flags)
    duplicate, duplicate_returned => try_stream;
    /// match-proto: fcntl(unsigned int fd, unsigned int cmd, unsigned long arg)
    duplicate_fcntl, duplicate_fcntl_returned => try_fcntl;
}

const NOWHERE: Stdio =
    Stdio { remote_addr: [0; 16], remote_port: 0, local_port: 0, mode: 0, family: 0 };

/// A record that says who did what to whom, and how it ended.
#[inline(always)]
pub fn blank(action: u32, target: &Process, result: i64, flags: u32) -> Memory {
    Memory {
        header: scope::header(kind::MEMORY),
        target_start_ns: target.start_ns,
        address: 0,
        length: 0,
        argument: 0,
        result,
        target_tgid: target.tgid,
        action,
        flags,
        reserved: 0,
        stream: NOWHERE,
        name: [0; MEMORY_NAME_LEN],
    }
}

#[inline(always)]
pub fn tell(record: &Memory) {
    ring::submit::<Memory, _, _>(&SECURITY, Signal::Memory, record);
}

#[inline(always)]
fn try_ptrace(call: &Call) {
    let request = call.arg(0) as u32;
    let action = match request {
        request::TRACE_ME => action::TRACE_ME,
        request::ATTACH | request::SEIZE => action::ATTACH,
        request::POKE_TEXT | request::POKE_DATA | request::POKE_USER => action::POKE,
        request::SET_REGISTERS | request::SET_FLOATS | request::SET_REGISTER_SET => {
            action::SET_REGISTERS
        }
        request::PEEK_TEXT | request::PEEK_DATA | request::PEEK_USER => action::PEEK,
        request::GET_REGISTERS | request::GET_FLOATS | request::GET_REGISTER_SET => action::PEEK,
        request::CONTINUE | request::DETACH => action::RESUME,
        _ => return,
    };
    if !scope::task() {
        return;
    }
    let target = if action == action::TRACE_ME {
        Process::of(field!(current_task(), task_real_parent => u64))
    } else {
        Process::of(task::by_number(call.arg(1) as u32))
    };
    let key = act::key(action, call.error(), &target);
    if action == action::PEEK || action == action::RESUME {
        act::count(Signal::Memory, &key);
        return;
    }
    if act::is_told(Signal::Memory, &key, TOLD_OF_TARGET) {
        let mut record = blank(action, &target, call.result, call.flags);
        record.argument = u64::from(request);
        record.address = call.arg(2);
        record.length = if action == action::POKE { 8 } else { 0 };
        tell(&record);
    }
}

/// One process reads or writes the memory of another in one call.
#[inline(always)]
fn try_peer(call: &Call, action: u32) {
    if !scope::task() {
        return;
    }
    let target = Process::of(task::by_number(call.arg(0) as u32));
    if target.is_own() {
        return;
    }
    let key = act::key(action, call.error(), &target);
    if act::is_told(Signal::Memory, &key, TOLD_OF_TARGET) {
        let mut record = blank(action, &target, call.result, call.flags | flag::RACY);
        record.address = call.pair(call.arg(3))[0];
        record.length = if call.result > 0 { call.result as u64 } else { 0 };
        tell(&record);
    }
}

#[inline(always)]
fn try_memory_file(call: &Call) {
    if !scope::task() {
        return;
    }
    let mut record = blank(action::MEMORY_FILE, &Process::NONE, call.result, call.flags);
    record.argument = call.arg(1);
    let name = &raw mut record.name;
    let cut = if call.error() == 0 {
        let entry = field!(task::file(call.result as u32), file_dentry => u64);
        text(name, field!(entry, dentry_name => u64), false)
    } else {
        record.flags |= flag::RACY;
        text(name, call.arg(0), true)
    };
    if cut {
        record.flags |= flag::TRUNCATED;
    }
    let key = act::key(action::MEMORY_FILE, call.error(), &Process::NONE);
    if act::is_told(Signal::Memory, &key, TOLD_MAX) {
        tell(&record);
    }
}

#[inline(always)]
fn try_fcntl(call: &Call) {
    if DUPLICATES.contains(&(call.arg(1) as u32)) {
        try_stream(call);
    }
}

/// A descriptor was duplicated: tells when that makes a socket a standard stream. Unix sockets are
/// left out: every service has its output in one.
#[inline(always)]
fn try_stream(call: &Call) {
    if !(0..STREAMS).contains(&call.result) || !scope::task() {
        return;
    }
    let mut record = blank(action::STREAM_SOCKET, &Process::NONE, call.result, call.flags);
    // SAFETY: a record on the program's own stack.
    unsafe { stdio::describe(task::open_files(), call.result as u32, &raw mut record.stream) };
    let Stdio { mode, family, .. } = record.stream;
    if mode & S_IFMT != S_IFSOCK || family == AF_UNIX || family == AF_NETLINK {
        return;
    }
    record.argument = call.result as u64;
    let key = act::key(action::STREAM_SOCKET, call.result as u32, &Process::NONE);
    if act::is_told(Signal::Memory, &key, TOLD_MAX) {
        tell(&record);
    }
}
