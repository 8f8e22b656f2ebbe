//! The least that a kernel program can cost: one that only counts, on the same hook.
//!
//! Every program costs its hook's entry and exit. What a sensor adds to that is its own doing, so
//! these programs are the measure of it. They are a handful of instructions, handed to the kernel
//! without any library, and end with their descriptors.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};

use super::watcher::{HOSTS, Seen, Stand};
use super::workload::Workload;
use crate::release;

/// Commands, types and attachments of bpf(2), as `linux/bpf.h` numbers them.
mod number {
    pub const MAP_CREATE: u32 = 0;
    pub const MAP_LOOKUP: u32 = 1;
    pub const PROG_LOAD: u32 = 5;
    pub const RAW_TRACEPOINT_OPEN: u32 = 17;
    pub const LINK_CREATE: u32 = 28;
    pub const MAP_PERCPU_ARRAY: u32 = 6;
    pub const PROG_SCHED_CLS: u32 = 3;
    pub const PROG_XDP: u32 = 6;
    pub const PROG_RAW_TRACEPOINT: u32 = 17;
    pub const ATTACH_XDP: u32 = 37;
    pub const ATTACH_TCX_EGRESS: u32 = 47;
    pub const LOOKUP_HELPER: i32 = 1;
}

/// Counting programs at work; dropping it ends them.
#[derive(Debug)]
pub struct Floor {
    _links: Vec<OwnedFd>,
    counter: OwnedFd,
    before: u64,
}

impl Floor {
    /// Says why it cannot run here.
    pub fn impossible(workload: Workload) -> Option<String> {
        let is_network = matches!(workload, Workload::Connect | Workload::Flood { .. });
        let old = is_network && !has_tcx();
        old.then(|| "this kernel has no tcx links (6.6)".to_owned())
    }

    /// Loads and attaches what the workload passes.
    pub fn start(stand: &Stand, workload: Workload) -> Result<Self> {
        let counter = map().context("cannot make a map")?;
        let mut links = Vec::new();
        match workload {
            Workload::Syscall | Workload::Open => {
                links.push(tracepoint(c"sys_enter", &counter)?);
            }
            Workload::Exec => {
                let hooks = [c"sched_process_exec", c"sched_process_fork", c"sched_process_exit"];
                for hook in hooks {
                    links.push(tracepoint(hook, &counter)?);
                }
            }
            Workload::Connect | Workload::Flood { .. } => {
                for host in HOSTS {
                    let netns = stand.hosts.place(host).netns.context("a host has no namespace")?;
                    links.extend(on_packets(&netns, &counter)?);
                }
            }
        }
        let before = total(&counter)?;
        Ok(Self { _links: links, counter, before })
    }

    /// Says how often the programs ran.
    pub fn stop(&mut self) -> Result<Seen> {
        Ok(Seen { recorded: total(&self.counter)? - self.before, lost: 0 })
    }
}

/// Whether tcx links are there: their attachment is known since 6.6.
fn has_tcx() -> bool {
    release::running() >= (6, 6)
}

/// Attaches both directions of a namespace's `eth0`, from a thread that enters it.
fn on_packets(netns: &Path, counter: &OwnedFd) -> Result<Vec<OwnedFd>> {
    let namespace = File::open(netns)?;
    std::thread::scope(|scope| {
        let attach = scope.spawn(|| -> Result<Vec<OwnedFd>> {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            let index = if_nametoindex("eth0")?;
            let xdp = program(number::PROG_XDP, XDP_PASS, counter)?;
            let egress = program(number::PROG_SCHED_CLS, TCX_NEXT, counter)?;
            Ok(vec![
                link(&xdp, index, number::ATTACH_XDP)?,
                link(&egress, index, number::ATTACH_TCX_EGRESS)?,
            ])
        });
        attach.join().map_err(|_| anyhow::anyhow!("the attaching thread panicked"))?
    })
}

const XDP_PASS: i32 = 2;
const TCX_NEXT: i32 = -1;

fn tracepoint(hook: &std::ffi::CStr, counter: &OwnedFd) -> Result<OwnedFd> {
    #[repr(C)]
    struct Open {
        name: u64,
        program: u32,
        reserved: u32,
    }
    let program = program(number::PROG_RAW_TRACEPOINT, 0, counter)?;
    let mut open =
        Open { name: hook.as_ptr() as u64, program: program.as_raw_fd() as u32, reserved: 0 };
    bpf(number::RAW_TRACEPOINT_OPEN, &mut open).context("cannot attach to a raw tracepoint")
}

fn link(program: &OwnedFd, interface: u32, attachment: u32) -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        program: u32,
        interface: u32,
        attachment: u32,
        flags: u32,
        rest: [u64; 4],
    }
    let program = program.as_raw_fd() as u32;
    let mut create = Create { program, interface, attachment, flags: 0, rest: [0; 4] };
    bpf(number::LINK_CREATE, &mut create).context("cannot attach to an interface")
}

/// A per-CPU counter.
fn map() -> Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        kind: u32,
        key_size: u32,
        value_size: u32,
        entries: u32,
        flags: u32,
        reserved: u32,
    }
    let kind = number::MAP_PERCPU_ARRAY;
    bpf(
        number::MAP_CREATE,
        &mut Create { kind, key_size: 4, value_size: 8, entries: 1, flags: 0, reserved: 0 },
    )
}

fn total(counter: &OwnedFd) -> Result<u64> {
    #[repr(C)]
    struct Lookup {
        map: u32,
        reserved: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = 0_u32;
    let mut values = vec![0_u64; possible_cpus()?];
    let mut lookup = Lookup {
        map: counter.as_raw_fd() as u32,
        reserved: 0,
        key: (&raw const key) as u64,
        value: values.as_mut_ptr() as u64,
        flags: 0,
    };
    call(number::MAP_LOOKUP, &mut lookup).context("cannot read the counter")?;
    Ok(values.iter().sum())
}

/// The kernel keeps a value for every processor that may ever be there.
fn possible_cpus() -> Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next().unwrap_or("0");
    Ok(last.parse::<usize>()? + 1)
}

/// Loads a program that adds one to the counter and returns a value.
fn program(kind: u32, value: i32, counter: &OwnedFd) -> Result<OwnedFd> {
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        version: u32,
        flags: u32,
        rest: [u64; 10],
    }
    let instructions = counting(value, counter.as_raw_fd());
    let mut load = Load {
        kind,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        version: 0,
        flags: 0,
        rest: [0; 10],
    };
    bpf(number::PROG_LOAD, &mut load).context("the kernel refused a counting program")
}

/// `value = lookup(map, &0); if (value) *value += 1; return …`, one instruction per number.
fn counting(value: i32, map: i32) -> Vec<u64> {
    vec![
        instruction(0x62, 10, 0, -4, 0), // *(u32 *)(r10 - 4) = 0
        instruction(0xbf, 2, 10, 0, 0),  // r2 = r10
        instruction(0x07, 2, 0, 0, -4),  // r2 += -4
        instruction(0x18, 1, 1, 0, map), // r1 = map
        0,
        instruction(0x85, 0, 0, 0, number::LOOKUP_HELPER), // call
        instruction(0x15, 0, 0, 3, 0),                     // if r0 == 0 skip the addition
        instruction(0x79, 1, 0, 0, 0),                     // r1 = *(u64 *)r0
        instruction(0x07, 1, 0, 0, 1),                     // r1 += 1
        instruction(0x7b, 0, 1, 0, 0),                     // *(u64 *)r0 = r1
        instruction(0xb7, 0, 0, 0, value),                 // r0 = value
        instruction(0x95, 0, 0, 0, 0),                     // exit
    ]
}

fn instruction(code: u8, target: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(target | source << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// A call that returns a descriptor.
fn bpf<T>(command: u32, attributes: &mut T) -> Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel has just made it, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn call<T>(command: u32, attributes: &mut T) -> Result<i32> {
    // SAFETY: the attributes are a `repr(C)` prefix of `union bpf_attr`, as long as said; pointers
    // in them lead to memory that outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, mem::size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    Ok(result as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_have_the_kernels_layout() {
        // From a disassembly: `r0 = 2` is b7 00 00 00 02 00 00 00, `r2 += -4` 07 02 00 00 fc ff ff
        // ff.
        assert_eq!(instruction(0xb7, 0, 0, 0, 2).to_le_bytes(), [0xb7, 0, 0, 0, 2, 0, 0, 0]);
        let minus = [0x07, 2, 0, 0, 0xfc, 0xff, 0xff, 0xff];
        assert_eq!(instruction(0x07, 2, 0, 0, -4).to_le_bytes(), minus);
        let store = [0x62, 0x0a, 0xfc, 0xff, 0, 0, 0, 0];
        assert_eq!(instruction(0x62, 10, 0, -4, 0).to_le_bytes(), store);
    }
}
