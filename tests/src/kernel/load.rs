//! Everything loads and attaches, and what happens in the kernel arrives: the trials that every
//! kernel version has to pass.

use std::{
    env,
    ffi::CString,
    fs::File,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor::probe::{HookReport, Probes, Settings, SyscallMode, Verified};
use sensor_abi::{
    parse::headers::Way,
    record::socket_event,
    seen::Signal,
    syscall::{SyscallKey, SyscallStats, latency_bucket},
};

use super::{
    child,
    traffic::{self, Ip},
    watch::{Event, Watch, unavailable},
};
use crate::skip::trial;

/// Path of a kernel module that fits the running kernel and is not loaded yet.
const MODULE: &str = "SAKURAMORI_TEST_MODULE";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("load::every_hook_attaches", every_hook_attaches),
        trial("load::every_alternative_loads", every_alternative_loads),
        trial("load::diagnostics_come_when_asked_for", diagnostics),
        trial("load::a_real_exec_arrives", a_real_exec_arrives),
        trial("load::a_real_connect_arrives", a_real_connect_arrives),
        trial("load::a_real_module_load_arrives", a_real_module_load_arrives),
        trial("load::system_calls_are_counted_in_windows_only", syscall_windows),
        trial("load::memory_of_maps_is_bounded", memory_of_maps_is_bounded),
    ]
}

/// Loopback is there in every guest.
fn on_loopback() -> Settings {
    Settings { interfaces: vec!["lo".to_owned()], ..Settings::default() }
}

fn every_hook_attaches() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let watch = Watch::start(&on_loopback())?;
    for hook in watch.probes.report() {
        eprintln!("{}: {:?} {:?}", hook.name, hook.attached, hook.stands_in);
    }
    let names: Vec<&str> = watch.probes.report().iter().map(|hook| hook.name).collect();
    for name in ["exec", "fork", "exit", "socket", "file", "module", "syscall", "ingress", "egress"]
    {
        ensure!(names.contains(&name), "the report lists {names:?}, not {name}");
    }
    for hook in watch.probes.report() {
        check(hook)?;
    }
    Ok(Completion::Completed)
}

/// The programs that stand in elsewhere pass this kernel's verifier too.
fn every_alternative_loads() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    for kernel_log in [false, true] {
        let settings = Settings { kernel_log, ..on_loopback() };
        let programs = Probes::verify(&settings)?;
        ensure!(programs.len() >= 12, "only {} programs", programs.len());
        for Verified { program, missing, refused, .. } in programs {
            if let Some(why) = missing {
                eprintln!("{program}: {why}");
            }
            ensure!(refused.is_none(), "{program}, log {kernel_log}: {refused:?}");
        }
    }
    Ok(Completion::Completed)
}

fn diagnostics() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let truncated = [0x45; 20];
    for (kernel_log, expected) in [(false, 0), (true, 1)] {
        let mut watch = Watch::start(&Settings { kernel_log, ..on_loopback() })?;
        let mut packet = [0; 34];
        packet[12] = 8;
        packet[14..].copy_from_slice(&truncated);
        // A header of 20 bytes that says TCP, and no TCP.
        packet[23] = 6;
        packet[20..22].fill(0);
        watch.probes.inject(Way::Ingress, &packet)?;
        let lines = watch.drain.records(&mut |_| {}).diagnostics;
        ensure!(lines == expected, "{lines} diagnostics with the log {kernel_log}");
    }
    Ok(Completion::Completed)
}

fn check(hook: &HookReport) -> Result<()> {
    // Nothing stands in for some hooks on a kernel that lacks what they need, and says so.
    let error = hook.error.as_deref().unwrap_or_default();
    let impossible = ["does not permit", "this kernel has no", "is built without"];
    if !hook.required && impossible.iter().any(|why| error.contains(why)) {
        eprintln!("{} is missing: {error}", hook.name);
        return Ok(());
    }
    ensure!(hook.error.is_none(), "{}: {:?}", hook.name, hook.error);
    ensure!(hook.lost.is_none(), "{} loses {:?}", hook.name, hook.lost);
    let kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    if hook.name == "module" && kprobes {
        ensure!(hook.attached.as_deref() == Some("kprobe do_init_module"), "{hook:?}");
    } else if hook.name == "module" {
        let why = hook.stands_in.as_deref().unwrap_or_default();
        ensure!(why.contains("kprobes"), "the report hides that kprobes are missing: {hook:?}");
    } else if hook.name != "module_removed" || Path::new("/proc/modules").exists() {
        ensure!(hook.attached.is_some(), "{} is attached to nothing", hook.name);
    }
    Ok(())
}

fn a_real_exec_arrives() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&on_loopback())?;
    let program = env::current_exe()?;
    let mut child =
        Command::new(&program).arg("--help").stdout(std::process::Stdio::null()).spawn()?;
    let id = child.id();
    child.wait()?;
    let exec = watch.find("exec record of the child", |event| match event {
        Event::Exec(exec) if exec.header.tgid == id => Some(exec.clone()),
        _ => None,
    })?;
    ensure!(exec.path == program.as_os_str().as_encoded_bytes(), "{:?}", exec.path.escape_ascii());
    let args = [program.as_os_str().as_encoded_bytes(), b"\0--help\0"].concat();
    ensure!(exec.args == args, "arguments {}", exec.args.escape_ascii());
    ensure!(exec.parent_tgid == std::process::id(), "parent {}", exec.parent_tgid);
    ensure!(exec.parent_start_ns > 0, "the parent has no start");
    ensure!(exec.parent_start_ns < exec.header.start_ns, "the parent is younger than its child");
    let inode = std::fs::metadata(&program)?.ino();
    ensure!(exec.exe_inode == inode, "inode {} instead of {inode}", exec.exe_inode);
    Ok(Completion::Completed)
}

fn a_real_connect_arrives() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&on_loopback())?;
    let (child, status) = child::run(|| traffic::connect_to_self(Ip::V4([127, 0, 0, 1]), 47_311))?;
    if libc::WEXITSTATUS(status) == 4 {
        bail!("could not connect over loopback; is it up?");
    }
    ensure!(status == 0, "the child could not connect to itself: {status}");
    let connected = watch.find("connection of the child", |event| match event {
        Event::Socket(socket) if socket.event == socket_event::CONNECTED => {
            (socket.header.tgid == child).then_some(*socket)
        }
        _ => None,
    })?;
    ensure!(connected.remote_port == 47_311, "{connected:?}");
    let seen = watch.drain.seen()[Signal::Socket as usize];
    ensure!(seen >= 4, "listen, connect, accept and close are {seen} changes");
    Ok(Completion::Completed)
}

fn a_real_module_load_arrives() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(path) = env::var_os(MODULE) else {
        return Ok(Completion::ignored_with(format!(
            "{MODULE} names no module; `cargo xtask vm` sets it in its guests"
        )));
    };
    let path = Path::new(&path);
    let name = path.file_name().and_then(|name| name.to_str()).context("the module has no name")?;
    let name = name.split('.').next().unwrap_or_default().replace('-', "_");
    let file = File::open(path).with_context(|| format!("could not open {}", path.display()))?;
    let raw = file.as_raw_fd();
    let plain = CString::new(name.clone())?;
    let mut watch = Watch::start(&on_loopback())?;
    let (child, status) = child::run(|| {
        // SAFETY: plain system calls; both strings end with NUL and outlive the child.
        unsafe {
            libc::syscall(libc::SYS_delete_module, plain.as_ptr(), 0);
            let loaded = libc::syscall(libc::SYS_finit_module, raw, c"".as_ptr(), 0);
            if loaded == 0 { 0 } else { *libc::__errno_location() }
        }
    })?;
    ensure!(status == 0, "finit_module failed with error {}", libc::WEXITSTATUS(status));
    let module = watch.find("module record", |event| match event {
        Event::Module(module) => Some(*module),
        _ => None,
    })?;
    let text = module.name.split(|byte| *byte == 0).next().unwrap_or_default();
    ensure!(text == name.as_bytes(), "module {} instead of {name}", text.escape_ascii());
    ensure!(module.header.tgid == child, "by process {} not {child}", module.header.tgid);
    Ok(Completion::Completed)
}

fn syscall_windows() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    const CALLS: u64 = 1_000;
    const SLEEPS: u32 = 5;
    const SLEEP_NS: u64 = 20_000_000;
    let call = || {
        for _ in 0..CALLS {
            // SAFETY: the call has no arguments.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        0
    };
    let sleep = || {
        let time = libc::timespec { tv_sec: 0, tv_nsec: SLEEP_NS as i64 };
        for _ in 0..SLEEPS {
            // SAFETY: the time outlives the call.
            unsafe {
                libc::syscall(libc::SYS_nanosleep, &raw const time, std::ptr::null_mut::<u8>())
            };
        }
        0
    };
    let settings = Settings { syscalls: SyscallMode::Sampled, ..on_loopback() };
    let mut watch = Watch::start(&settings)?;
    let counted = |watch: &mut Watch, child: u32| -> u64 {
        let fits = |tgid, number| tgid == child && i64::from(number) == libc::SYS_getppid;
        let counts = watch.drain.syscalls();
        counts.iter().filter(|(key, _)| fits(key.tgid, key.number)).map(|(_, n)| n.count).sum()
    };
    let (before, _) = child::run(call)?;
    ensure!(counted(&mut watch, before) == 0, "system calls are counted outside a window");
    watch.probes.set_syscall_counting(true)?;
    watch.probes.set_syscall_counting(true)?;
    let (within, _) = child::run(call)?;
    let (slept, _) = child::run(sleep)?;
    watch.probes.set_syscall_counting(false)?;
    let counts = watch.drain.syscalls();
    let of = |child: u32, number: i64| {
        let fits = |key: &SyscallKey| key.tgid == child && i64::from(key.number) == number;
        let found = counts.iter().find(|(key, _)| fits(key));
        found.map(|(_, stats)| *stats).unwrap_or_default()
    };
    let SyscallStats { count, latency } = of(within, libc::SYS_getppid);
    ensure!(count == CALLS, "{count} of {CALLS} calls counted in the window");
    let timed: u64 = latency.iter().map(|&calls| u64::from(calls)).sum();
    ensure!(timed == CALLS, "{timed} of {CALLS} calls timed: {latency:?}");
    let latency = of(slept, libc::SYS_nanosleep).latency;
    let bucket = latency_bucket(SLEEP_NS);
    let (sleeps, others): (u32, u32) =
        (latency[bucket..=bucket + 2].iter().sum(), latency[..bucket].iter().sum());
    ensure!((sleeps, others) == (SLEEPS, 0), "sleeps of {SLEEP_NS} ns took {latency:?}");
    let (after, _) = child::run(call)?;
    ensure!(counted(&mut watch, after) == 0, "system calls are counted after the window");
    Ok(Completion::Completed)
}

fn memory_of_maps_is_bounded() -> Result<Completion> {
    /// What the sensor promises for an idle host.
    const MAPS_MAX: u64 = 48 << 20;
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let watch = Watch::start(&on_loopback())?;
    let maps = watch.probes.map_bytes();
    let total: u64 = maps.iter().map(|(_, bytes)| bytes).sum();
    ensure!(maps.len() >= 15, "only {} maps are accounted", maps.len());
    ensure!((1 << 20..MAPS_MAX).contains(&total), "{total} bytes: {maps:?}");
    Ok(Completion::Completed)
}
