//! Memory of others and of one's own, touched as injection and fileless execution do it, for real.

use std::{
    fs, io,
    net::{TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, net::UnixStream},
    },
    ptr,
    sync::atomic::AtomicU64,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::{libc, unistd::Pid};
use sensor_abi::{
    act::{flag, memory as action},
    record::{Header, file},
    seen::Signal,
};

use super::{
    acts::{Lacking, act, counted, counts, each_way, is_silent, memory, totals},
    child, ia32, overlay,
    traffic::Ip,
    watch::{Event, Watch},
};
use crate::{figure, skip::trial};

/// What the trials write into their victims; forked children have it at the same address.
static VICTIM: AtomicU64 = AtomicU64::new(0);
/// Standard streams.
const STREAMS: [i32; 3] = [0, 1, 2];
/// Number of `ptrace` by the 32-bit convention of x86.
#[cfg(target_arch = "x86_64")]
const IA32_PTRACE: i32 = 26;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("memory::ptrace_names_tracer_and_target", || each_way("ptrace", traced)),
        trial("memory::a_failed_attach_tells_its_error", || each_way("ptrace", attach_fails)),
        trial("memory::trace_me_names_the_parent", || each_way("ptrace", trace_me)),
        trial("memory::targets_are_found_inside_namespaces", || each_way("ptrace", in_namespace)),
        trial("memory::ptrace_by_the_32_bit_convention_is_seen", || each_way("ptrace", by_32_bit)),
        trial("memory::a_flood_is_seen_delivered_and_counted", || each_way("ptrace", flood)),
        trial("memory::process_vm_calls_name_their_target", || each_way("peer_memory", peer)),
        trial("memory::proc_mem_is_seen_opened", || each_way("proc_mem_open", proc_mem_open)),
        trial("memory::proc_mem_is_seen_written", || each_way("proc_mem_write", proc_mem_write)),
        trial("memory::memory_files_are_named", || each_way("memory_file", memory_file)),
        trial("memory::written_then_executable_is_counted", || each_way("protect", protect)),
        trial("memory::writable_and_executable_maps_are_counted", || each_way("map", map)),
        trial("memory::code_that_an_image_lacks_is_told", || each_way("map", brought)),
        trial("memory::sockets_that_become_streams_name_their_peer", || {
            each_way("stream", streams)
        }),
    ]
}

/// A child that waits to be ended.
struct Victim(Pid);

impl Victim {
    fn start() -> Result<Self> {
        // SAFETY: the call has no arguments; a signal ends the child.
        let wait = || unsafe {
            loop {
                libc::pause();
            }
        };
        child::start(wait).map(Self)
    }

    fn id(&self) -> u32 {
        self.0.as_raw() as u32
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let mut status = 0;
        // SAFETY: a child of ours, not waited for before; the status lives through the call.
        unsafe {
            libc::kill(self.0.as_raw(), libc::SIGKILL);
            libc::waitpid(self.0.as_raw(), &raw mut status, 0);
        }
    }
}

/// Runs `work` in a child that must succeed.
fn attacker(work: impl FnOnce() -> i32) -> Result<u32> {
    let (id, status) = child::run(work)?;
    ensure!(status == 0, "the child's work failed: {:#x}", status);
    Ok(id)
}

fn ptrace(request: libc::c_uint, pid: i32, address: u64, data: u64) -> i64 {
    // SAFETY: the kernel checks all of it; nothing here points into this process but `data` of a
    // read, which callers own.
    unsafe { libc::syscall(libc::SYS_ptrace, request, pid, address, data) }
}

/// Attaches, reads and writes memory and registers, lets the victim go on, and leaves it.
fn inject(pid: i32, pokes: u32) -> i32 {
    let address = VICTIM.as_ptr() as u64;
    let mut status = 0;
    let mut word = 0_u64;
    if ptrace(libc::PTRACE_ATTACH, pid, 0, 0) != 0 {
        return 1;
    }
    // SAFETY: a process that this one traces; the status lives through the call.
    if unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) } != pid {
        return 2;
    }
    for _ in 0..3 {
        ptrace(libc::PTRACE_PEEKDATA, pid, address, (&raw mut word) as u64);
    }
    for value in 0..pokes {
        if ptrace(libc::PTRACE_POKEDATA, pid, address, u64::from(value)) != 0 {
            return 3;
        }
    }
    let mut registers = [0_u64; 128];
    let mut room =
        libc::iovec { iov_base: (&raw mut registers).cast(), iov_len: size_of_val(&registers) };
    // 1 is NT_PRSTATUS, the general registers.
    if ptrace(libc::PTRACE_GETREGSET, pid, 1, (&raw mut room) as u64) != 0
        || ptrace(libc::PTRACE_SETREGSET, pid, 1, (&raw mut room) as u64) != 0
    {
        return 4;
    }
    i32::from(ptrace(libc::PTRACE_DETACH, pid, 0, 0) != 0) * 5
}

fn traced(watch: &mut Watch) -> Result<()> {
    let victim = Victim::start()?;
    let pid = victim.0.as_raw();
    let tracer = attacker(|| inject(pid, 2))?;
    let mut start = None;
    let events = watch.until("the victim's fork and registers being set", |events| {
        start = events.iter().find_map(|event| match event {
            Event::Fork(fork) if fork.header.tgid == victim.id() => Some(fork.header.start_ns),
            _ => None,
        });
        start.is_some() && by(events, tracer).contains(&action::SET_REGISTERS)
    })?;
    figure::tell("E-08", "ptrace with registers set: told");
    for event in &events {
        let Event::Memory(memory) = event else { continue };
        if memory.header.tgid != tracer {
            continue;
        }
        ensure!(memory.target_tgid == victim.id(), "target of {memory:?}");
        ensure!(Some(memory.target_start_ns) == start, "start of the target of {memory:?}");
        ensure!(memory.result == 0 && memory.flags == 0, "{memory:?}");
        if memory.action == action::POKE {
            ensure!(memory.address == VICTIM.as_ptr() as u64, "{memory:?}");
        }
    }
    let counts = counts(watch, tracer);
    // GETREGSET reads too; one of two writes was told at once.
    ensure!(counts.get(&action::PEEK) == Some(&4), "{counts:?}");
    ensure!(counts.get(&action::POKE) == Some(&1), "{counts:?}");
    ensure!(counts.get(&action::RESUME) == Some(&1), "{counts:?}");
    is_silent(watch, victim.id())
}

/// Actions of a process, in the order of their records.
fn by(events: &[Event], process: u32) -> Vec<u32> {
    let acts = events.iter().filter_map(act);
    acts.filter(|(header, _)| header.tgid == process).map(|(_, action)| action).collect()
}

fn attach_fails(watch: &mut Watch) -> Result<()> {
    // The largest process id there can be is not in use here.
    let tracer = attacker(|| i32::from(ptrace(libc::PTRACE_ATTACH, 0x3f_ffff, 0, 0) == 0))?;
    let attach = memory(watch, tracer, action::ATTACH)?;
    ensure!(attach.result == -i64::from(libc::ESRCH), "{attach:?}");
    ensure!(attach.target_tgid == 0 && attach.argument == 16, "{attach:?}");
    Ok(())
}

fn trace_me(watch: &mut Watch) -> Result<()> {
    let traced = attacker(|| i32::from(ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0))?;
    let record = memory(watch, traced, action::TRACE_ME)?;
    ensure!(record.target_tgid == std::process::id() && record.result == 0, "{record:?}");
    Ok(())
}

/// Inside a process namespace, number 1 is another process than outside.
fn in_namespace(watch: &mut Watch) -> Result<()> {
    let outer = attacker(|| {
        // SAFETY: plain system calls; children leave with `_exit` and are waited for or killed by
        // the end of their namespace.
        unsafe {
            if libc::unshare(libc::CLONE_NEWPID) != 0 {
                return 1;
            }
            let first = libc::fork();
            if first == 0 {
                loop {
                    libc::pause();
                }
            }
            let second = libc::fork();
            if second == 0 {
                let attached = ptrace(libc::PTRACE_SEIZE, 1, 0, 0) == 0;
                libc::_exit(i32::from(!attached));
            }
            let mut status = 0;
            libc::waitpid(second, &raw mut status, 0);
            libc::kill(first, libc::SIGKILL);
            libc::waitpid(first, ptr::null_mut(), 0);
            libc::WEXITSTATUS(status)
        }
    })?;
    let mut children: Vec<Header> = Vec::new();
    let mut seized = None;
    watch.until("processes inside the namespace", |events| {
        children = events
            .iter()
            .filter_map(|event| match event {
                Event::Fork(fork) if fork.parent_tgid == outer => Some(fork.header),
                _ => None,
            })
            .collect();
        seized = events.iter().find_map(|event| match event {
            Event::Memory(memory) if memory.action == action::ATTACH => Some(**memory),
            _ => None,
        });
        children.len() == 2 && seized.is_some()
    })?;
    let seized = seized.context("seen above")?;
    ensure!(seized.header.tgid == children[1].tgid, "{seized:?}");
    ensure!(seized.target_tgid == children[0].tgid, "{seized:?} of {:?}", children[0]);
    ensure!(seized.target_start_ns == children[0].start_ns, "{seized:?} of {:?}", children[0]);
    Ok(())
}

/// A 64-bit program can make 32-bit system calls, which have other numbers and registers.
fn by_32_bit(watch: &mut Watch) -> Result<()> {
    let (traced, status) = child::run(|| i32::from(ia32::call(IA32_PTRACE, [0; 3]) != Some(0)))?;
    if status != 0 {
        return Err(Lacking("this kernel makes no 32-bit system calls").into());
    }
    let record = memory(watch, traced, action::TRACE_ME)?;
    ensure!(record.flags & flag::COMPAT != 0 && record.result == 0, "{record:?}");
    figure::tell("E-15", "ptrace by the 32-bit convention: told");
    Ok(())
}

/// More writes than anybody wants to be told of: all are accounted for, one by one or as a count.
fn flood(watch: &mut Watch) -> Result<()> {
    const POKES: u32 = 5_000;
    let before = totals(watch, Signal::Memory);
    let victim = Victim::start()?;
    let pid = victim.0.as_raw();
    let tracer = attacker(|| inject(pid, POKES))?;
    let mut told = 0;
    watch.until("registers being set", |events| {
        told = events.iter().filter(|event| matches!(event, Event::Memory(_))).count() as u64;
        by(events, tracer).contains(&action::SET_REGISTERS)
    })?;
    let after = totals(watch, Signal::Memory);
    let counted = counted(watch, |key| key.action <= action::LAST);
    told += watch.until("nothing", |_| true)?.iter().filter(|e| is_memory(e)).count() as u64;
    let (seen, lost) = (after.0 - before.0, after.1 - before.1);
    figure::tell(
        "S-05",
        format_args!("ptrace flood: {seen} seen, {told} told, {counted} counted, {lost} lost"),
    );
    ensure!(seen >= u64::from(POKES), "{seen} seen of {POKES}");
    ensure!(told < 100, "{told} records of one flood");
    // Other processes go on meanwhile: what came after the totals were read is theirs.
    let rest = told + counted + lost - seen;
    ensure!(told + counted + lost >= seen && rest < 50, "{told} + {counted} + {lost} of {seen}");
    Ok(())
}

fn is_memory(event: &Event) -> bool {
    matches!(event, Event::Memory(_))
}

fn peer(watch: &mut Watch) -> Result<()> {
    let victim = Victim::start()?;
    let pid = victim.0.as_raw();
    let attacker = attacker(|| {
        let mut word = 7_u64;
        let own = libc::iovec { iov_base: (&raw mut word).cast(), iov_len: 8 };
        let other = libc::iovec { iov_base: VICTIM.as_ptr().cast(), iov_len: 8 };
        // SAFETY: `own` is this process's own word; the kernel checks the other's address. The last
        // call concerns this process alone and must not be told.
        unsafe {
            let wrote = libc::process_vm_writev(pid, &raw const own, 1, &raw const other, 1, 0);
            let read = libc::process_vm_readv(pid, &raw const own, 1, &raw const other, 1, 0);
            let id = libc::getpid();
            libc::process_vm_readv(id, &raw const own, 1, &raw const other, 1, 0);
            i32::from(wrote != 8 || read != 8)
        }
    })?;
    let written = memory(watch, attacker, action::VM_WRITE)?;
    ensure!(written.target_tgid == victim.id() && written.target_start_ns > 0, "{written:?}");
    ensure!(written.address == VICTIM.as_ptr() as u64, "{written:?}");
    ensure!(written.length == 8 && written.result == 8, "{written:?}");
    ensure!(written.flags & flag::RACY != 0, "{written:?}");
    let counts = counts(watch, attacker);
    ensure!(counts.values().all(|count| *count == 0), "its own memory was counted: {counts:?}");
    figure::tell("E-08", "process_vm_writev: told");
    is_silent(watch, victim.id())
}

/// Opens a process's memory file and writes a word into it.
fn write_memory_file(path: &std::ffi::CStr) -> i32 {
    let word = 9_u64;
    // SAFETY: a string that ends with NUL and a word, both of which outlive the calls; the kernel
    // checks the address that is written to.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_RDWR);
        if file < 0 {
            return 1;
        }
        let place = VICTIM.as_ptr() as i64;
        i32::from(libc::pwrite(file, (&raw const word).cast(), 8, place) != 8)
    }
}

fn memory_file_of(pid: &str) -> Result<std::ffi::CString> {
    Ok(std::ffi::CString::new(format!("/proc/{pid}/mem"))?)
}

fn proc_mem_open(watch: &mut Watch) -> Result<()> {
    let victim = Victim::start()?;
    let path = memory_file_of(&victim.id().to_string())?;
    let attacker = attacker(|| write_memory_file(&path))?;
    let opened = memory(watch, attacker, action::PROC_MEM_OPEN)?;
    ensure!(opened.target_tgid == victim.id() && opened.target_start_ns > 0, "{opened:?}");
    let own = memory_file_of("self")?;
    let neighbour = self::attacker(|| write_memory_file(&own))?;
    is_silent(watch, neighbour)
}

fn proc_mem_write(watch: &mut Watch) -> Result<()> {
    let victim = Victim::start()?;
    let path = memory_file_of(&victim.id().to_string())?;
    let attacker = attacker(|| write_memory_file(&path))?;
    let written = memory(watch, attacker, action::PROC_MEM_WRITE)?;
    figure::tell("E-08", "write to /proc/PID/mem: told");
    ensure!(written.target_tgid == victim.id() && written.length == 8, "{written:?}");
    Ok(())
}

fn memory_file(watch: &mut Watch) -> Result<()> {
    let maker = attacker(|| {
        // SAFETY: a string that ends with NUL.
        let file = unsafe { libc::memfd_create(c"payload".as_ptr(), libc::MFD_CLOEXEC) };
        i32::from(file < 0)
    })?;
    let made = memory(watch, maker, action::MEMORY_FILE)?;
    figure::tell("E-08", "memfd_create: told");
    ensure!(made.name.starts_with(b"memfd:payload\0"), "{}", made.name.escape_ascii());
    ensure!(made.argument == u64::from(libc::MFD_CLOEXEC) && made.result >= 0, "{made:?}");
    let fails = attacker(|| {
        let name = c"refused";
        // SAFETY: a string that ends with NUL; the flags are not valid. It is touched first: the
        // kernel refuses without a look at it, and programs cannot bring in a page.
        let file = unsafe {
            name.as_ptr().read_volatile();
            libc::memfd_create(name.as_ptr(), 0x8000_0000)
        };
        i32::from(file >= 0)
    })?;
    let refused = memory(watch, fails, action::MEMORY_FILE)?;
    ensure!(refused.result == -i64::from(libc::EINVAL), "{refused:?}");
    ensure!(refused.name.starts_with(b"refused\0") && refused.flags & flag::RACY != 0);
    Ok(())
}

const PAGE: usize = 4096;

/// Maps a page of its own.
fn page(protection: i32) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, wherever there is room.
    unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, flags, -1, 0) }
}

fn protect(watch: &mut Watch) -> Result<()> {
    let compiler = attacker(|| {
        for _ in 0..5 {
            let code = page(libc::PROT_READ | libc::PROT_WRITE);
            // SAFETY: a page of this process's own, in which nothing runs.
            unsafe {
                code.cast::<u8>().write(0xc3);
                if libc::mprotect(code, PAGE, libc::PROT_READ | libc::PROT_EXEC) != 0 {
                    return 1;
                }
            }
        }
        0
    })?;
    let neighbour = attacker(|| {
        let data = page(libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: as above.
        unsafe { libc::mprotect(data, PAGE, libc::PROT_READ) }
    })?;
    let mut of_neighbour = 0;
    let mut of_compiler = 0;
    for (key, count) in watch.drain.acts() {
        if key.action == action::WRITE_TO_EXEC && key.tgid == compiler {
            ensure!(key.start_ns > 0, "the process has no start: {key:?}");
            of_compiler += count;
        }
        of_neighbour += if key.tgid == neighbour { count } else { 0 };
    }
    ensure!(of_compiler == 5, "{of_compiler} of 5 pages made executable");
    ensure!(of_neighbour == 0, "{of_neighbour} counted of pages that are not executable");
    is_silent(watch, compiler)
}

fn map(watch: &mut Watch) -> Result<()> {
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let compiler = attacker(|| i32::from((0..3).any(|_| page(all) == libc::MAP_FAILED)))?;
    let neighbour = attacker(|| i32::from(page(libc::PROT_READ) == libc::MAP_FAILED))?;
    let counted = watch.drain.acts();
    let count = |process| -> u64 {
        let of = counted.iter().filter(|(key, _)| key.tgid == process);
        of.filter(|(key, _)| key.action == action::MAP_WRITE_EXEC).map(|(_, count)| count).sum()
    };
    ensure!(count(compiler) == 3, "{} of 3 pages", count(compiler));
    ensure!(count(neighbour) == 0, "{} of a neighbour", count(neighbour));
    Ok(())
}

/// A container's process maps code of its image, and code that was brought in later.
fn brought(watch: &mut Watch) -> Result<()> {
    if let Some(reason) = overlay::missing()? {
        return Err(Lacking(reason).into());
    }
    let folder = tempfile::tempdir()?;
    let place = folder.path().canonicalize()?;
    let names = ["old", "new"];
    let mounts = || {
        let merged =
            overlay::of_this_thread(&place, |lower| Ok(fs::write(lower.join("old"), "x")?))?;
        fs::write(merged.join("new"), "y")?;
        let files = names.map(|name| fs::File::open(merged.join(name)));
        let files = files.into_iter().collect::<io::Result<Vec<_>>>()?;
        attacker(|| {
            let mapped = |file: &fs::File| {
                let (code, kind) = (libc::PROT_READ | libc::PROT_EXEC, libc::MAP_PRIVATE);
                // SAFETY: new memory wherever the kernel likes, never touched.
                unsafe { libc::mmap(ptr::null_mut(), 1, code, kind, file.as_raw_fd(), 0) }
            };
            i32::from(files.iter().any(|file| mapped(file) == libc::MAP_FAILED))
        })
    };
    let joined = thread::scope(|scope| scope.spawn(mounts).join());
    let mapper = joined.ok().context("the thread that mounts failed")??;
    let told = |events: &[Event]| -> Vec<_> {
        let of = |event: &Event| match event {
            Event::File(file) if file.fixed.header.tgid == mapper => Some((**file).clone()),
            _ => None,
        };
        events.iter().filter_map(of).collect()
    };
    if !overlay::has_types() {
        return Err(Lacking("the overlay module's types are not known").into());
    }
    let found = told(&watch.until("a file mapped as code", |events| !told(events).is_empty())?);
    ensure!(found.len() == 1, "{found:?}");
    let file::File { action: act, flags, .. } = found[0].fixed;
    ensure!(act == file::action::MAP_CODE && flags & file::flag::UPPER_LAYER != 0, "{found:?}");
    let expected = place.join("merged/new");
    ensure!(found[0].path == expected.as_os_str().as_bytes(), "{found:?}");
    Ok(())
}

fn streams(watch: &mut Watch) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").context("loopback is down")?;
    let tcp = TcpStream::connect(listener.local_addr()?)?;
    let port = tcp.peer_addr()?.port();
    let (unix, _other) = UnixStream::pair()?;
    let (tcp, unix) = (tcp.as_raw_fd(), unix.as_raw_fd());
    let ways: [fn(i32) -> i32; 3] = duplicates();
    for way in ways {
        let shell = attacker(|| way(tcp))?;
        let mut told = Vec::new();
        let events = watch.until("three streams", |events| {
            told = by(events, shell);
            told.len() >= STREAMS.len()
        })?;
        for event in &events {
            let Event::Memory(memory) = event else { continue };
            if memory.header.tgid != shell {
                continue;
            }
            ensure!(memory.action == action::STREAM_SOCKET, "{memory:?}");
            ensure!(memory.stream.remote_port == port, "{memory:?}");
            ensure!(memory.stream.remote_addr == Ip::V4([127, 0, 0, 1]).mapped(), "{memory:?}");
        }
        let neighbour = attacker(|| way(unix))?;
        is_silent(watch, neighbour)?;
    }
    Ok(())
}

/// Three ways to make a descriptor a standard stream.
fn duplicates() -> [fn(i32) -> i32; 3] {
    fn by_number(socket: i32) -> i32 {
        // SAFETY: changes the child's own descriptors only.
        i32::from(STREAMS.iter().any(|stream| unsafe { libc::dup2(socket, *stream) } != *stream))
    }
    fn by_command(socket: i32) -> i32 {
        // SAFETY: as above.
        let copy = |stream| unsafe {
            libc::close(stream);
            libc::fcntl(socket, libc::F_DUPFD, stream)
        };
        i32::from(STREAMS.iter().any(|stream| copy(*stream) != *stream))
    }
    fn by_gap(socket: i32) -> i32 {
        // SAFETY: as above; the lowest free descriptor is the one that was closed.
        let copy = |stream| unsafe {
            libc::close(stream);
            libc::dup(socket)
        };
        i32::from(STREAMS.iter().any(|stream| copy(*stream) != *stream))
    }
    [by_number, by_command, by_gap]
}
