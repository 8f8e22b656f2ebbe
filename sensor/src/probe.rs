//! Loads the kernel programs and attaches each of them, or says why not and what is lost.
//!
//! Only `probe` and `drain` name aya.

use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aya::{Ebpf, programs::raw_trace_point::RawTracePointLinkId};
use sensor_abi::{parse::headers::Way, seen::Signal};
use thiserror::Error;

use self::files::WatchedFiles;
use self::fixed::Fixed;
use self::interfaces::Interfaces;
pub use self::maps::Maps;
pub use self::rings::Rings;
use self::{attach::Kernel, pins::Pins};
use crate::file::Watched;
use crate::{
    drain::{Drain, ProgramLog},
    netns::NetnsError,
};

mod attach;
mod calls;
mod check;
mod files;
mod fixed;
mod inject;
mod interfaces;
mod maps;
mod memory;
mod object;
mod offsets;
mod payload;
mod pins;
mod rings;
mod switch;
mod table;
mod tracefs;
mod tuning;
mod way;

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

/// A kind of way to attach a program, for working around a kernel in which one is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayKind {
    /// Security hooks.
    Lsm,
    /// Beginnings and ends of kernel functions, by trampoline.
    Fentry,
    /// Beginnings and ends of kernel functions, by breakpoint.
    Kprobe,
    /// Tracepoints without tracefs.
    RawTracepoint,
    /// Tracepoints of tracefs.
    Tracepoint,
}

/// What to load and where to attach it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the sensor is limited to.
    pub scope: Scope,
    /// Interfaces to watch: names, which may have `*` and `?`, and with a leading `!` names to
    /// leave out. None that chooses means all but loopback.
    pub interfaces: Vec<String>,
    /// Whether this is a trial beside another sensor, whose programs are to be left alone.
    pub beside: bool,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// Whether one level of tunnel (GRE, VXLAN, IP in IP) is looked into.
    pub tunnels: bool,
    /// When system calls are counted.
    pub syscalls: SyscallMode,
    /// Signals that nobody wants, of [`SWITCHABLE`]; nothing of the kernel is touched for them.
    pub off: Vec<Signal>,
    /// Kinds of ways that are not tried, so that the next best one stands in.
    pub avoid: Vec<WayKind>,
    /// Environment variables that exec records carry, by name.
    pub variables: Vec<String>,
    /// Which files and unix sockets are watched.
    pub files: Watched,
    /// Ports on which DNS is spoken, at most four; empty means 53.
    pub dns_ports: Vec<u16>,
    /// How large the rings of records are.
    pub rings: Rings,
    /// Folder of the BPF file system in which maps and links get names, so that they outlive this
    /// process; none lets everything go with it.
    pub pins: Option<PathBuf>,
    /// Whether the programs write their own diagnostics to the log.
    pub kernel_log: bool,
}

/// What changes the code that a program runs without changing the program: the loader's variables,
/// and what shells read before their script. And what keeps a shell from writing its history.
pub const VARIABLES: [&str; 8] = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "GLIBC_TUNABLES",
    "BASH_ENV",
    "HISTFILE",
    "HISTSIZE",
    "HISTFILESIZE",
];

/// Most variables that can be named.
pub const VARIABLES_MAX: usize = sensor_abi::tuning::VARIABLES_MAX;

impl Default for Settings {
    fn default() -> Self {
        Self {
            scope: Scope::default(),
            interfaces: Vec::new(),
            beside: false,
            xdp: XdpMode::default(),
            tunnels: false,
            syscalls: SyscallMode::default(),
            off: Vec::new(),
            avoid: Vec::new(),
            files: Watched::default(),
            dns_ports: Vec::new(),
            variables: VARIABLES.map(str::to_owned).to_vec(),
            rings: Rings::default(),
            pins: None,
            kernel_log: false,
        }
    }
}

/// Signals that can be switched off. Executions, forks and exits cannot: whatever else happens is
/// told of a process, which they make known.
pub const SWITCHABLE: [Signal; 10] = [
    Signal::Flow,
    Signal::Dns,
    Signal::Tls,
    Signal::Socket,
    Signal::Use,
    Signal::File,
    Signal::Memory,
    Signal::Privilege,
    Signal::Module,
    Signal::Uring,
];

impl Settings {
    /// Returns whether anybody wants a signal. Messages are found in packets that are counted.
    fn wants(&self, signal: Signal) -> bool {
        let without_packets = self.off.contains(&Signal::Flow);
        let off = match signal {
            Signal::Dns | Signal::Tls => without_packets || self.off.contains(&signal),
            Signal::Syscall => self.syscalls == SyscallMode::Off,
            _ => self.off.contains(&signal),
        };
        !off
    }
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

impl HookReport {
    /// Says that a hook is not attached because nobody wants its signal.
    fn switched_off(name: &'static str, signal: Signal, lost: &'static str) -> Self {
        Self {
            name,
            signal: signal.name(),
            required: false,
            attached: None,
            stands_in: Some("switched off by the settings".to_owned()),
            lost: Some(lost),
            error: None,
        }
    }
}

/// What the kernel's verifier said to one program.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The program.
    pub program: String,
    /// Why this kernel cannot have such a program, so that nothing was said.
    pub missing: Option<String>,
    /// Why the program was refused.
    pub refused: Option<String>,
    /// Instructions that the verifier followed, where the kernel tells (5.16).
    pub instructions: Option<u32>,
}

/// Why the programs could not be loaded at all.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Built without a BPF toolchain.
    #[error(
        "this sensor was built without its kernel programs; run `cargo xtask setup`, then build \
         again"
    )]
    ObjectMissing,
    /// The scope's cgroup is not a cgroup v2 directory.
    #[error("could not use cgroup {} as the scope: {why}", path.display())]
    Cgroup {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The scope's network namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The kernel refused the object or one of its maps.
    #[error(
        "the kernel refused the programs: {0}; running as root, or with CAP_BPF and CAP_PERFMON?"
    )]
    Load(String),
    /// A program could not be switched.
    #[error("could not switch the {hook} hook: {why}")]
    Switch {
        /// The hook.
        hook: &'static str,
        /// Why.
        why: String,
    },
    /// A map is not there: it was taken already, or the object is not this sensor's.
    #[error("map {0} is missing")]
    Map(&'static str),
    /// A map cannot be used.
    #[error("map {name} cannot be read: {why}")]
    MapUnusable {
        /// The map.
        name: &'static str,
        /// Why.
        why: String,
    },
    /// What was handed over is not a map.
    #[error("map {name} cannot be handed over: {why}")]
    MapForeign {
        /// The map.
        name: String,
        /// Why.
        why: String,
    },
}

/// Every how many calls of [`Probes::tend`] the links are looked at: a look reads what the kernel
/// says of each descriptor.
const LOOK_EVERY: u32 = 5;

/// Whether the kernel programs are inside this binary.
pub const OBJECT_EMBEDDED: bool = !object::BYTES.is_empty();

/// The compiler that made the kernel programs: its release, and that of its LLVM.
pub const OBJECT_COMPILER: &str = env!("SAKURAMORI_BPF_COMPILER");

/// The loaded programs and what keeps them attached; dropping it detaches everything.
#[derive(Debug)]
pub struct Probes {
    programs: Ebpf,
    report: Vec<HookReport>,
    map_bytes: Vec<(String, u64)>,
    interfaces: Interfaces,
    settings: Settings,
    log: Option<ProgramLog>,
    links: check::Links,
    fixed: Fixed,
    pins: Option<Pins>,
    /// Counts up, so that what is dear is done now and then.
    tended: u32,
    /// The links on begins and ends of system calls, while they are counted.
    syscalls: Option<[RawTracePointLinkId; 2]>,
    files: WatchedFiles,
}

impl Probes {
    /// Loads and attaches every hook that this kernel allows.
    pub fn load(settings: &Settings) -> Result<Self, ProbeError> {
        let pins = settings.pins.as_deref().and_then(|folder| open_pins(folder, settings));
        let left = pins.as_ref().map(Pins::left).unwrap_or_default();
        let mut programs = object::load(settings, &left)?;
        maps::set_selves(&mut programs, [std::process::id(), 0])?;
        let files = WatchedFiles::new(&mut programs, &settings.files)?;
        let mut interfaces = Interfaces::new(settings)?;
        let kernel = Kernel::new(&settings.avoid);
        if pins.as_ref().is_some_and(Pins::has_links) {
            // The programs of an earlier process go on until these can be attached.
            switch::load_ahead(&mut programs, settings, &kernel);
            interfaces.load_ahead(&mut programs);
        }
        let began = Instant::now();
        let taken_over = pins.as_ref().map_or(0, Pins::drop_links);
        let mut report = switch::all_off();
        switch::bring_in_line(&mut programs, &mut report, settings, &kernel);
        drop(kernel);
        tuning::set(&mut programs, settings)?;
        interfaces.attach(&mut programs)?;
        report.extend(interfaces.report());
        let mut probes = Self {
            map_bytes: memory::of_maps(&programs),
            programs,
            report,
            interfaces,
            settings: settings.clone(),
            log: None,
            links: check::Links::default(),
            fixed: Fixed::default(),
            pins,
            tended: 0,
            syscalls: None,
            files,
        };
        if let Some(pins) = &mut probes.pins {
            let named = maps::descriptors(&probes.programs)?;
            if let Err(error) = pins.keep_maps(&named) {
                tracing::warn!(%error, "maps will not outlive the loader");
            }
            pins.keep_links();
        }
        if taken_over > 0 {
            let gap_ms = began.elapsed().as_millis();
            tracing::info!(links = taken_over, gap_ms, "maps of an earlier start were taken over");
        }
        if settings.syscalls == SyscallMode::Continuous {
            probes.set_syscall_counting(true)?;
        }
        probes.remember();
        Ok(probes)
    }

    /// Loads every program by itself, also those that only stand in on other kernels, and attaches
    /// none; returns what the kernel said to each.
    pub fn verify(settings: &Settings) -> Result<Vec<Verified>, ProbeError> {
        let mut programs = object::load(settings, &[])?;
        Ok(attach::load_all(&mut programs))
    }

    /// Returns what became of each hook.
    pub fn report(&self) -> &[HookReport] {
        &self.report
    }

    /// Returns the kernel memory of each map, in bytes.
    pub fn map_bytes(&self) -> Vec<(String, u64)> {
        self.map_bytes.clone()
    }

    /// Returns the kernel memory that all maps would take on a machine with so many processors.
    pub fn map_bytes_with(&self, processors: usize) -> u64 {
        memory::with_processors(&self.programs, processors)
    }

    /// Attaches the ends first: an end without a begin is nothing.
    fn attach_both(
        &mut self,
        [begin, end]: [(&'static str, &'static str); 2],
    ) -> Result<[RawTracePointLinkId; 2], aya::programs::ProgramError> {
        let end_link = attach::raw_tracepoint(&mut self.programs, end.0)?.attach(end.1)?;
        let program = attach::raw_tracepoint(&mut self.programs, begin.0)?;
        match program.attach(begin.1) {
            Ok(link) => Ok([link, end_link]),
            Err(error) => {
                attach::raw_tracepoint(&mut self.programs, end.0)?.detach(end_link)?;
                Err(error)
            }
        }
    }

    fn detach_both(
        &mut self,
        programs: [(&'static str, &'static str); 2],
        links: [RawTracePointLinkId; 2],
    ) -> Result<(), aya::programs::ProgramError> {
        // Both are tried, whatever becomes of the first.
        let mut detached = Ok(());
        for ((program, _), link) in programs.into_iter().zip(links) {
            let program = attach::raw_tracepoint(&mut self.programs, program);
            detached = detached.and(program.and_then(|program| program.detach(link)));
        }
        detached
    }

    /// Starts or stops counting system calls (a no-op when it is already so, and where the kernel
    /// refused the program, which the report says).
    pub fn set_syscall_counting(&mut self, on: bool) -> Result<(), ProbeError> {
        let hook = self.report.iter().find(|hook| hook.name == table::SYSCALL);
        let countable = hook.is_some_and(|hook| hook.attached.is_some());
        if on == self.syscalls.is_some() || on && !countable {
            return Ok(());
        }
        // What somebody else did is told from what is done here.
        self.look();
        let programs = [(table::SYSCALL, "sys_enter"), (table::SYSCALL_END, "sys_exit")];
        let switched = match self.syscalls.take() {
            None => self.attach_both(programs).map(Some),
            Some(links) => self.detach_both(programs, links).map(|()| None),
        };
        self.syscalls = switched.map_err(|error| ProbeError::Switch {
            hook: table::SYSCALL,
            why: attach::sentence(&error),
        })?;
        self.links.remember();
        Ok(())
    }

    /// Takes up interfaces that have come and lets go of those that are gone; says whether the
    /// report has changed. Costs one system call when nothing has.
    pub fn follow_interfaces(&mut self) -> bool {
        let changed = self.interfaces.follow(&mut self.programs);
        if changed {
            self.report_interfaces();
        }
        changed
    }

    /// Takes up what has changed on interfaces.
    fn report_interfaces(&mut self) {
        self.links.changed();
        for new in self.interfaces.report() {
            if let Some(old) = self.report.iter_mut().find(|old| old.name == new.name) {
                *old = new;
            }
        }
    }

    /// Returns how long one run of a packet program takes, over many runs with the same packet.
    pub fn measure(&mut self, way: Way, packet: &[u8], runs: u32) -> Result<Duration, ProbeError> {
        inject::measure(&mut self.programs, way, packet, runs)
    }

    /// Watches other files from now on. What the old and the new set both watch is watched all the
    /// time.
    pub fn watch_files(&mut self, files: &Watched) -> Result<(), ProbeError> {
        let watched = self.files.watch(&mut self.programs, files);
        self.fixed.remember(&self.programs, &fixed::FILES);
        watched
    }

    /// Runs a packet through the program of its way, as if an interface had seen it; returns what
    /// the program decided about the packet.
    pub fn inject(&mut self, way: Way, packet: &[u8]) -> Result<u32, ProbeError> {
        inject::packet(&mut self.programs, way, packet)
    }

    /// Opens the maps to read from. Only one drain may be read at a time.
    pub fn drain(&mut self) -> Result<Drain, ProbeError> {
        let mut maps = Maps::from_descriptors(self.descriptors()?)?;
        Drain::take(&mut maps, self.take_log())
    }

    /// Sets the sensor's own processes, whose events are not reported.
    pub fn exclude(&mut self, processes: [u32; 2]) -> Result<(), ProbeError> {
        let set = maps::set_selves(&mut self.programs, processes);
        self.fixed.remember(&self.programs, &fixed::SELVES);
        set
    }

    /// Takes settings while the programs run, as far as they can change then: the scope, the way of
    /// XDP, tunnels and what is avoided cannot. What was counted stays, and what both the old and
    /// the new settings want is counted without a gap.
    pub fn change(&mut self, settings: &Settings) -> Result<(), ProbeError> {
        // What somebody else did is told from what is done here.
        self.look();
        self.set_syscall_counting(false)?;
        let kernel = Kernel::new(&settings.avoid);
        switch::bring_in_line(&mut self.programs, &mut self.report, settings, &kernel);
        tuning::set(&mut self.programs, settings)?;
        self.interfaces.choose(&mut self.programs, settings);
        self.report_interfaces();
        self.settings = settings.clone();
        self.watch_files(&settings.files)?;
        self.pins.iter_mut().for_each(Pins::keep_links);
        self.remember();
        match settings.syscalls {
            SyscallMode::Continuous => self.set_syscall_counting(true),
            SyscallMode::Off | SyscallMode::Sampled => Ok(()),
        }
    }

    /// Does what is due now and then beside the reading of the maps.
    pub fn tend(&mut self) {
        if let Some(log) = &mut self.log {
            log.flush();
        }
        self.follow_interfaces();
        match self.files.tend(&mut self.programs) {
            Ok(false) => {}
            Ok(true) => self.fixed.remember(&self.programs, &fixed::FILES),
            Err(error) => {
                let meaning = "watched files that were replaced are known by their path only";
                tracing::warn!(%error, meaning);
            }
        }
        self.tended = self.tended.wrapping_add(1);
        if self.tended.is_multiple_of(LOOK_EVERY) {
            self.look();
        }
    }

    /// Looks whether everything is still attached and every table as it was written, and gives
    /// names to what is new.
    fn look(&mut self) {
        let changed = !self.links.are_known();
        for interface in self.links.look() {
            self.links.taken_off += 1;
            tracing::error!(interface, "a packet program was taken off by somebody else");
            self.interfaces.renew(&mut self.programs, interface);
            self.report_interfaces();
        }
        for map in self.fixed.restore() {
            tracing::error!(map, "a map was changed by somebody else; it is put back");
        }
        if changed || !self.links.are_known() {
            self.pins.iter_mut().for_each(Pins::keep_links);
        }
    }

    /// Takes what is attached and written now as what should be.
    fn remember(&mut self) {
        self.links.remember();
        for names in [&fixed::TUNING[..], &fixed::SELVES, &fixed::FILES, &fixed::CHAINS] {
            self.fixed.remember(&self.programs, names);
        }
    }

    /// Tells in words what somebody else did to programs and maps; nothing when nobody did.
    pub fn tampering(&self) -> Option<String> {
        let (taken_off, closed) = (self.links.taken_off, self.links.closed);
        let (changes, map) = (self.fixed.changes, self.fixed.latest);
        let told = [
            (taken_off, format!("packet programs were taken off {taken_off} times and put back")),
            (changes, format!("maps were changed {changes} times and put back, {map} at last")),
            (closed, format!("{closed} other programs were taken off; restart the sensor")),
        ];
        let told: Vec<String> =
            told.into_iter().filter(|(count, _)| *count > 0).map(|(_, text)| text).collect();
        (!told.is_empty()).then(|| format!("by somebody else: {}", told.join("; ")))
    }

    /// Takes the names of maps and links away, so that everything goes with this process.
    pub fn unpin(&mut self) {
        self.pins.take().iter().for_each(Pins::remove);
    }

    /// Returns a number that is the same for as long as the maps are, and no other maps have.
    pub fn load_number(&self) -> Result<u64, ProbeError> {
        maps::number(&self.descriptors()?)
    }

    /// Returns a descriptor of each map, for a process that reads them without any privilege.
    pub fn descriptors(&self) -> Result<Vec<(String, OwnedFd)>, ProbeError> {
        maps::descriptors(&self.programs)
    }

    /// Reads the programs' log here, for a process that has handed its maps over.
    pub fn keep_log(&mut self) {
        self.log = self.take_log();
    }

    fn take_log(&mut self) -> Option<ProgramLog> {
        self.settings.kernel_log.then(|| ProgramLog::take(&mut self.programs)).flatten()
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.interfaces.detach_all(&mut self.programs);
    }
}

/// Opens the names of this version of the programs; without them everything works, but goes with
/// this process.
fn open_pins(folder: &Path, settings: &Settings) -> Option<Pins> {
    let opened = object::version(settings).map_err(|error| error.to_string());
    let opened =
        opened.and_then(|version| Pins::open(folder, &version).map_err(|error| error.to_string()));
    opened
        .inspect_err(|why| tracing::warn!(folder = %folder.display(), why, "no names for maps"))
        .ok()
}
