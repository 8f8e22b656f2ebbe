//! Loads the kernel programs and attaches each of them, or says why not and what is lost.
//!
//! Only `probe` and `drain` name aya.

use std::path::PathBuf;

use thiserror::Error;

use crate::drain::Drain;

/// What the sensor is limited to.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only tasks below this cgroup v2 directory; `None` watches every task.
    pub cgroup: Option<PathBuf>,
    /// Only interfaces and sockets of this network namespace; `None` means the sensor's own
    /// namespace for interfaces and every namespace for sockets.
    pub netns: Option<PathBuf>,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, in the stack otherwise.
    #[default]
    Auto,
    /// Only in the driver.
    Native,
    /// Only in the stack.
    Generic,
}

/// When system calls are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyscallMode {
    /// Never.
    Off,
    /// In short windows, switched by [`Probes::set_syscall_counting`].
    #[default]
    Sampled,
    /// Always.
    Continuous,
}

/// What to load and where to attach it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What the sensor is limited to.
    pub scope: Scope,
    /// Interfaces to watch; empty means all but loopback.
    pub interfaces: Vec<String>,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// When system calls are counted.
    pub syscalls: SyscallMode,
    /// Whether the programs write their own diagnostics to the log.
    pub kernel_log: bool,
}

/// What became of one hook.
#[derive(Clone, Debug)]
pub struct HookReport {
    /// The hook's name, for instance `exec`.
    pub name: &'static str,
    /// The signal it feeds.
    pub signal: &'static str,
    /// Whether the sensor is of little use without it.
    pub required: bool,
    /// How it is attached, for instance `tracepoint sched/sched_process_exec`; `None` when not.
    pub attached: Option<String>,
    /// Why the preferred way is not used, when another one stands in.
    pub stands_in: Option<String>,
    /// What is lost when nothing is attached.
    pub lost: Option<&'static str>,
    /// Why nothing is attached.
    pub error: Option<String>,
}

/// Why the programs could not be loaded at all.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Built without a BPF toolchain.
    #[error(
        "this sensor was built without its kernel programs; run `cargo xtask setup`, then build again"
    )]
    ObjectMissing,
}

/// Whether the kernel programs are inside this binary.
pub const OBJECT_EMBEDDED: bool = false;

/// The loaded programs and what keeps them attached; dropping it detaches everything.
#[derive(Debug)]
pub struct Probes {
    report: Vec<HookReport>,
}

impl Probes {
    /// Loads and attaches every hook that this kernel allows.
    pub fn load(_settings: &Settings) -> Result<Self, ProbeError> {
        Err(ProbeError::ObjectMissing)
    }

    /// Returns what became of each hook.
    pub fn report(&self) -> &[HookReport] {
        &self.report
    }

    /// Returns the kernel memory of each map, in bytes.
    pub fn map_bytes(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Starts or stops counting system calls (a no-op when it is already so).
    pub fn set_syscall_counting(&mut self, _on: bool) -> Result<(), ProbeError> {
        Ok(())
    }

    /// Takes the maps to read from; works once.
    pub fn drain(&mut self) -> Result<Drain, ProbeError> {
        Err(ProbeError::ObjectMissing)
    }
}
