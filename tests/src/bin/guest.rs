//! First program of a guest: mounts, loads modules, runs the kernel trials, powers off.
//!
//! It ends with one line that says whether everything passed, which `cargo xtask vm` looks for.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// What is mounted, where, and as what.
const MOUNTS: [(&str, &str); 8] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("tracefs", "/sys/kernel/tracing"),
    ("bpf", "/sys/fs/bpf"),
];
/// The module that a trial loads.
const TRIAL_MODULE: &str = "/trial.ko";

fn main() -> Result<()> {
    ensure!(std::process::id() == 1, "this is the first program of a guest, not of a machine");
    match run() {
        Ok(()) => println!("\nguest: everything passed"),
        Err(error) => println!("\nguest: FAILED: {error:#}"),
    }
    // The console's driver writes out what it has before the power is gone.
    reboot(RebootMode::RB_POWER_OFF)?;
    Ok(())
}

fn run() -> Result<()> {
    for (kind, path) in MOUNTS {
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("failed to mount {path}"))?;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("\nguest: kernel {}", release.trim());
    load_modules()?;
    program(Command::new("/bin/ip").args(["link", "set", "lo", "up"]))?;
    let doctor = program(Command::new("/bin/sakuramori-sensor").arg("doctor"));
    let trials = program(
        Command::new("/bin/kernel-trials")
            .args(["--test-threads", "1"])
            .env("SAKURAMORI_TEST_MODULE", TRIAL_MODULE),
    );
    trials.and(doctor)
}

/// Loads all modules in the order of their file names.
fn load_modules() -> Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/modules")?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files {
        finit_module(File::open(&file)?, c"", ModuleInitFlags::empty())
            .with_context(|| format!("failed to load {}", file.display()))?;
    }
    Ok(())
}

fn program(command: &mut Command) -> Result<()> {
    command.env("PATH", "/bin").env("HOME", "/root");
    let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
