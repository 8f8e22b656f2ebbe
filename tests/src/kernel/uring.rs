//! Requests to io_uring, made for real: a write and a file's end, with and without the kernel's own
//! thread.

use std::{
    fs,
    os::fd::AsRawFd as _,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use nix::libc;
use sensor_abi::{
    act::{URING, privilege as action},
    seen::Signal,
};

use super::{
    acts::{Lacking, each_way, is_silent, totals},
    child,
    watch::{Event, Watch},
};
use crate::{figure, skip::trial};

/// What the ring needs of linux/io_uring.h.
const NOP: u8 = 0;
const WRITE: u8 = 23;
const SETUP_SQPOLL: u32 = 1 << 1;
const ENTER_GETEVENTS: u32 = 1;
const ENTER_SQ_WAKEUP: u32 = 2;
const SQ_NEED_WAKEUP: u32 = 1;
const OFFSET_SQES: i64 = 0x1000_0000;
const ENTRIES: u32 = 8;
const SQE: usize = 64;
/// How long the kernel's thread may take.
const PATIENCE: Duration = Duration::from_secs(5);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("uring::requests_are_counted_by_opcode", || each_way("uring", requests)),
        trial("uring::requests_of_the_kernels_thread_are_the_makers", || each_way("uring", polled)),
        trial("uring::a_ring_that_is_made_is_told", || each_way("uring_setup", setup)),
    ]
}

/// `struct io_uring_params`, with the offsets of its two rings as plain numbers.
#[repr(C)]
#[derive(Default)]
struct Parameters {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    /// head, tail, mask, entries, flags, dropped, array, reserved, and an address.
    sq: [u32; 10],
    /// head, tail, mask, entries, overflow, events, flags, reserved, and an address.
    cq: [u32; 10],
}

/// A ring of one child. It is never unmapped: the child ends.
struct Ring {
    descriptor: i32,
    rings: *mut u8,
    entries: *mut u8,
    parameters: Parameters,
}

impl Ring {
    fn make(flags: u32) -> Option<Self> {
        let mut parameters = Parameters { flags, sq_thread_idle: 1_000, ..Parameters::default() };
        let made = &raw mut parameters;
        // SAFETY: the parameters live through the call.
        let descriptor = unsafe { libc::syscall(libc::SYS_io_uring_setup, ENTRIES, made) } as i32;
        if descriptor < 0 {
            return None;
        }
        let map = |length, offset| {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
            // SAFETY: a new mapping of the ring.
            let at = unsafe {
                libc::mmap(ptr::null_mut(), length, protection, flags, descriptor, offset)
            };
            (at != libc::MAP_FAILED).then(|| at.cast::<u8>())
        };
        let rings = map(4096, 0)?;
        let entries = map(parameters.sq_entries as usize * SQE, OFFSET_SQES)?;
        Some(Self { descriptor, rings, entries, parameters })
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: an aligned offset that the kernel gave, inside the mapping.
        unsafe { AtomicU32::from_ptr(self.rings.add(offset as usize).cast()) }
    }

    /// Puts in one request.
    fn push(&self, opcode: u8, file: i32, data: &[u8]) {
        let tail = self.word(self.parameters.sq[1]);
        let at = tail.load(Ordering::Relaxed);
        let index = at % self.parameters.sq_entries;
        let mut entry = [0_u8; SQE];
        entry[0] = opcode;
        entry[4..8].copy_from_slice(&file.to_ne_bytes());
        entry[16..24].copy_from_slice(&(data.as_ptr() as u64).to_ne_bytes());
        entry[24..28].copy_from_slice(&(data.len() as u32).to_ne_bytes());
        // SAFETY: one of the entries that were mapped.
        unsafe { ptr::copy(entry.as_ptr(), self.entries.add(index as usize * SQE), SQE) };
        self.word(self.parameters.sq[6] + index * 4).store(index, Ordering::Relaxed);
        tail.store(at + 1, Ordering::Release);
    }

    fn enter(&self, submit: u32, wait: u32, flags: u32) -> i64 {
        let none = ptr::null::<u8>();
        // SAFETY: numbers, and no signal mask.
        unsafe {
            let call = libc::SYS_io_uring_enter;
            libc::syscall(call, self.descriptor, submit, wait, flags, none, 0)
        }
    }

    fn completed(&self) -> u32 {
        self.word(self.parameters.cq[1]).load(Ordering::Acquire)
    }
}

/// Three requests without effect and one write, each by the way of the ring's flags.
fn work(flags: u32, file: i32) -> i32 {
    let Some(ring) = Ring::make(flags) else { return 2 };
    for _ in 0..3 {
        ring.push(NOP, -1, &[]);
    }
    ring.push(WRITE, file, b"by io_uring");
    if flags & SETUP_SQPOLL == 0 {
        return i32::from(ring.enter(4, 4, ENTER_GETEVENTS) != 4) * 3;
    }
    let start = Instant::now();
    while ring.completed() < 4 {
        if start.elapsed() > PATIENCE {
            return 4;
        }
        if ring.word(ring.parameters.sq[4]).load(Ordering::Acquire) & SQ_NEED_WAKEUP != 0 {
            ring.enter(0, 0, ENTER_SQ_WAKEUP);
        }
        std::hint::spin_loop();
    }
    0
}

fn counted(watch: &mut Watch, flags: u32) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let descriptor = file.as_file().as_raw_fd();
    let before = totals(watch, Signal::Uring);
    let (process, status) = child::run(|| work(flags, descriptor))?;
    if libc::WEXITSTATUS(status) == 2 {
        return Err(Lacking("this kernel makes no ring here").into());
    }
    ensure!(status == 0, "the child's work failed: {status:#x}");
    ensure!(fs::read(file.path())? == b"by io_uring", "nothing was written");
    let after = totals(watch, Signal::Uring);
    let counts = watch.drain.acts();
    let of = |opcode: u8| -> u64 {
        let own = counts.iter().filter(|(key, _)| key.tgid == process && key.start_ns > 0);
        own.filter(|(key, _)| (key.action, key.code) == (URING, opcode.into()))
            .map(|(_, count)| count)
            .sum()
    };
    ensure!((of(NOP), of(WRITE)) == (3, 1), "{} and {}: {counts:?}", of(NOP), of(WRITE));
    let all: u64 =
        counts.iter().filter(|(key, _)| key.action == URING).map(|(_, count)| count).sum();
    let (seen, lost) = (after.0 - before.0, after.1 - before.1);
    figure::tell(
        "E-03",
        format_args!("4 requests by flags {flags}: {} counted by opcode", of(NOP) + of(WRITE)),
    );
    ensure!(seen <= all + lost, "{seen} seen, {all} counted, {lost} lost");
    Ok(())
}

fn requests(watch: &mut Watch) -> Result<()> {
    counted(watch, 0)?;
    // SAFETY: the call has no arguments.
    let (neighbour, _) = child::run(|| unsafe { libc::getppid() }.min(0))?;
    is_silent(watch, neighbour)
}

fn polled(watch: &mut Watch) -> Result<()> {
    counted(watch, SETUP_SQPOLL)
}

fn setup(watch: &mut Watch) -> Result<()> {
    let (maker, status) = child::run(|| i32::from(Ring::make(SETUP_SQPOLL).is_none()))?;
    if status != 0 {
        return Err(Lacking("this kernel makes no ring here").into());
    }
    let record = watch.find("ring being made", |event| match event {
        Event::Privilege(record) if record.act.header.tgid == maker => Some(**record),
        _ => None,
    })?;
    ensure!(record.act.action == action::URING_SETUP, "{:?}", record.act);
    ensure!(record.act.argument as u32 & SETUP_SQPOLL != 0, "{:?}", record.act);
    Ok(())
}
