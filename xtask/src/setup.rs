//! Finding or installing what is missing: idempotent, and it says what it does.

mod bpf;
pub mod chart;

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::shell;

/// What something has to be set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Need {
    /// Compiling everything, the kernel programs and the console included.
    Build,
    /// Namespaces with real traffic, and calls to the kernel that fail.
    Demo,
    /// The console in a real browser.
    Browser,
    /// Other kernels in QEMU.
    Vm,
    /// Peers to measure against.
    Bench,
    /// Rendering and checking the Helm chart.
    Chart,
    /// Independent readers of captures.
    Eval,
}

/// Programs that Debian's packages bring: need, program, package.
const PACKAGES: [(Need, &str, &str); 21] = [
    (Need::Build, "cc", "gcc"),
    (Need::Build, "c++", "g++"),
    (Need::Build, "ld", "binutils"),
    (Need::Build, "git", "git"),
    (Need::Demo, "ip", "iproute2"),
    (Need::Demo, "bash", "bash"),
    (Need::Demo, "ping", "iputils-ping"),
    (Need::Demo, "strace", "strace"),
    (Need::Browser, "chromium", "chromium"),
    (Need::Vm, "qemu-system-x86_64", "qemu-system-x86"),
    (Need::Vm, "busybox", "busybox-static"),
    (Need::Vm, "xz", "xz-utils"),
    (Need::Vm, "ip", "iproute2"),
    (Need::Bench, "auditctl", "auditd"),
    (Need::Bench, "bpftrace", "bpftrace"),
    (Need::Bench, "tcpdump", "tcpdump"),
    (Need::Bench, "softflowd", "softflowd"),
    (Need::Bench, "nats-server", "nats-server"),
    (Need::Chart, "python3", "python3-venv"),
    (Need::Eval, "tshark", "tshark"),
    (Need::Eval, "capinfos", "wireshark-common"),
];

/// Oldest Node that the console's tools run on.
const NODE_MIN: u32 = 20;

/// Sets up for the given needs (all when empty); with `check` it only tells what is missing, and
/// returns whether nothing is.
pub fn run(needs: &[Need], check: bool) -> Result<bool> {
    let needs = if needs.is_empty() { Need::value_variants() } else { needs };
    let missing = missing(needs);
    for what in &missing {
        eprintln!("missing: {what}");
    }
    if missing.is_empty() {
        eprintln!("everything is in place");
    }
    if check || missing.is_empty() {
        return Ok(missing.is_empty());
    }
    ensure(needs)?;
    Ok(true)
}

/// Installs what the given needs lack; says nothing when nothing is missing.
pub fn ensure(needs: &[Need]) -> Result<()> {
    let packages = missing_packages(needs);
    if !packages.is_empty() {
        let what = format!("installing {} from the distribution", packages.join(", "));
        shell::step(&what, || install_packages(&packages))?;
    }
    if needs.contains(&Need::Build) {
        bpf::ensure()?;
        require_node()?;
    }
    if needs.contains(&Need::Chart) {
        chart::ensure()?;
    }
    Ok(())
}

fn missing(needs: &[Need]) -> Vec<String> {
    let mut missing: Vec<String> =
        missing_packages(needs).iter().map(|name| format!("package {name}")).collect();
    if needs.contains(&Need::Build) {
        missing.extend(bpf::missing());
        missing.extend(require_node().err().map(|error| format!("{error:#}")));
    }
    if needs.contains(&Need::Chart) {
        missing.extend(chart::missing());
    }
    missing
}

fn missing_packages(needs: &[Need]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = PACKAGES
        .iter()
        .filter(|(need, program, _)| needs.contains(need) && !shell::exists(program))
        .map(|&(_, _, package)| package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// Installs Debian packages, with a fresh list first, as an old list names files that are gone.
pub fn install_packages(packages: &[&str]) -> Result<()> {
    if !shell::exists("apt-get") {
        bail!("install {} with your distribution's package manager", packages.join(", "));
    }
    let apt = || {
        let mut apt = shell::as_root("env");
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]);
        apt
    };
    shell::must(apt().arg("update"))?;
    shell::must(apt().args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn require_node() -> Result<()> {
    let version = shell::output(Command::new("node").arg("--version"))
        .context("node is missing: install Node.js 20 or newer with npm, it builds the console")?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|m| m.parse().ok());
    if major.is_none_or(|major: u32| major < NODE_MIN) {
        bail!("node is {version}: install Node.js {NODE_MIN} or newer, it builds the console");
    }
    if !shell::exists("npm") {
        bail!("npm is missing: install it beside node, it builds the console");
    }
    Ok(())
}
