//! Detection: what happened on a host goes in, sightings of problems come out.
//!
//! A detector is pure. It learns the time from records and ticks, keeps bounded state per host, and
//! never looks at another host's state, so the order in which hosts' batches arrive changes
//! nothing. One detection is one file; [`list`] has them all.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wire::batch::Batch;

use crate::finding::{Coverage, Exactness, Kind, PolicyRef, Severity, Signal, technique};
use crate::policy::{Active, PolicySet};
use crate::record::{Event, Host, HostId, Process, events};
use crate::window::keyed::Keyed;

pub mod anti_debug;
pub mod bpf_program;
pub mod container_escape;
mod context;
mod coverage;
pub mod elevation;
pub mod fileless;
pub mod injection;
pub mod kernel_module;
mod listed;
pub mod listed_address;
pub mod listed_file;
pub mod listed_name;
pub mod malware;
pub mod metadata_rebind;
pub mod new_binary;
mod paths;
pub mod persistence_command;
pub mod port_scan;
pub mod preload;
pub mod prepared;
pub mod ransomware;
pub mod recon_burst;
mod report;
pub mod reverse_shell;
pub mod runtime_socket;
pub mod sensitive_file;
pub mod sensitive_read;
pub mod service_shell;
pub mod shared_identity;
mod shell;
pub mod sigma;
pub mod uring_bypass;
pub mod userfault;

#[cfg(test)]
pub(crate) mod scenario;

use coverage::CoverageTable;

/// Hosts that a detector keeps state for. A brain is meant for thousands; past this the host that
/// was silent longest is forgotten.
pub(crate) const HOSTS_MAX: usize = 16_384;

/// One detection.
pub trait Detector: Any + Send {
    /// Its name: that of its file, and of its settings in `policies/detectors/`.
    fn name(&self) -> &'static str;

    /// Looks at an event. A host's events come in the order of their time within a batch; between
    /// batches, and between lanes, they may be late.
    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>);

    /// Learns that time passed, by the brain's clock. It is there for hosts that fell silent;
    /// nothing may depend on how often it comes.
    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>);

    /// State entries that left because a limit was reached.
    fn evicted(&self) -> u64 {
        0
    }

    /// Parts of it, such as rules, that were switched off because they panicked.
    fn broken(&self) -> u64 {
        0
    }

    /// Takes over what `before`, the same detection with other settings, remembers, as far as it is
    /// of use. By default nothing is.
    fn inherit(&mut self, _before: &mut dyn Detector) {}
}

/// What a detector did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorStats {
    /// Its name.
    pub name: &'static str,
    /// Signals that it emitted.
    pub signals: u64,
    /// Inputs during which it panicked, the rest of which it did not see, and parts of it that
    /// were switched off because they did.
    pub panics: u64,
    /// State entries that left because a limit was reached.
    pub evicted: u64,
}

/// All detectors that the policies switch on.
#[derive(Default)]
pub struct Detectors {
    slots: Vec<Slot>,
    coverage: CoverageTable,
    /// For how long the correlations remember.
    correlated_ns: u64,
    /// After a reload: the policies as they are now, ordered by file.
    policies: Vec<Arc<PolicyRef>>,
}

struct Slot {
    detector: Box<dyn Detector>,
    /// Sums up the settings and all else that the detector was made from.
    made_from: String,
    stats: DetectorStats,
}

/// A detector that the policies switch on, before it is made.
struct Wanted<'a> {
    name: &'static str,
    made_from: String,
    make: Box<dyn FnOnce() -> Box<dyn Detector> + 'a>,
}

/// Adds a detector to the list, if it is on. `more` names whatever it is made from besides its
/// settings.
fn add<'a, T: fmt::Debug, D: Detector + 'static>(
    list: &mut Vec<Wanted<'a>>,
    name: &'static str,
    active: &'a Option<Active<T>>,
    more: &str,
    make: impl FnOnce(&'a Active<T>) -> D + 'a,
) {
    if let Some(active) = active {
        let made_from = format!("{:?} {more}", active.settings);
        list.push(Wanted { name, made_from, make: Box::new(move || Box::new(make(active))) });
    }
}

/// Lists all detectors that `policy` switches on.
fn list(policy: &PolicySet) -> Vec<Wanted<'_>> {
    let on = &policy.settings;
    let mut list = Vec::new();
    add(&mut list, "port_scan", &on.port_scan, "", port_scan::PortScan::new);
    add(&mut list, "reverse_shell", &on.reverse_shell, "", reverse_shell::ReverseShell::new);
    add(&mut list, "fileless", &on.fileless, "", fileless::Fileless::new);
    add(&mut list, "kernel_module", &on.kernel_module, "", kernel_module::KernelModule::new);
    add(&mut list, "listed_address", &on.listed_address, &policy.feeds_state, |active| {
        listed_address::ListedAddress::new(active, &policy.intel)
    });
    add(&mut list, "listed_name", &on.listed_name, &policy.feeds_state, |active| {
        listed_name::ListedName::new(active, &policy.intel)
    });
    add(&mut list, "listed_file", &on.listed_file, &policy.feeds_state, |active| {
        listed_file::ListedFile::new(active, &policy.intel)
    });
    add(&mut list, "malware", &on.malware, "", malware::Malware::new);
    add(&mut list, "anti_debug", &on.anti_debug, "", anti_debug::AntiDebug::new);
    add(&mut list, "bpf_program", &on.bpf_program, "", bpf_program::BpfProgram::new);
    add(
        &mut list,
        "container_escape",
        &on.container_escape,
        "",
        container_escape::ContainerEscape::new,
    );
    add(&mut list, "elevation", &on.elevation, "", elevation::Elevation::new);
    add(&mut list, "injection", &on.injection, "", injection::Injection::new);
    add(
        &mut list,
        "metadata_rebind",
        &on.metadata_rebind,
        "",
        metadata_rebind::MetadataRebind::new,
    );
    add(&mut list, "new_binary", &on.new_binary, "", new_binary::NewBinary::new);
    add(
        &mut list,
        "persistence_command",
        &on.persistence_command,
        "",
        persistence_command::PersistenceCommand::new,
    );
    add(&mut list, "preload", &on.preload, "", preload::Preload::new);
    add(&mut list, "ransomware", &on.ransomware, "", ransomware::Ransomware::new);
    add(&mut list, "recon_burst", &on.recon_burst, "", recon_burst::ReconBurst::new);
    add(&mut list, "runtime_socket", &on.runtime_socket, "", runtime_socket::RuntimeSocket::new);
    add(&mut list, "sensitive_file", &on.sensitive_file, "", sensitive_file::SensitiveFile::new);
    add(&mut list, "sensitive_read", &on.sensitive_read, "", sensitive_read::SensitiveRead::new);
    add(
        &mut list,
        "shared_identity",
        &on.shared_identity,
        "",
        shared_identity::SharedIdentity::new,
    );
    add(&mut list, "service_shell", &on.service_shell, "", service_shell::ServiceShell::new);
    add(&mut list, "uring_bypass", &on.uring_bypass, "", uring_bypass::UringBypass::new);
    add(&mut list, "userfault", &on.userfault, "", userfault::Userfault::new);
    add(&mut list, "sigma", &on.sigma, &policy.rules_state, |active| {
        sigma::Sigma::new(active, &policy.rules, &policy.correlations)
    });
    list
}

impl fmt::Debug for Detectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| slot.stats)).finish()
    }
}

impl Detectors {
    /// The longest window that a setting allows.
    const MEMORY_NS: u64 = 3_600 * 1_000_000_000;

    /// How much of the journal before a checkpoint must be replayed, signals discarded, to rebuild
    /// the detectors' state. A connection that was opened earlier and has been silent since is not
    /// known to [`reverse_shell`] afterwards.
    pub fn memory_ns(&self) -> u64 {
        Self::MEMORY_NS.max(self.correlated_ns)
    }

    /// Returns the detectors with settings from `policy`.
    pub fn new(policy: &PolicySet) -> Self {
        let slots = list(policy).into_iter().map(|wanted| {
            let stats = DetectorStats { name: wanted.name, ..DetectorStats::default() };
            Slot { detector: (wanted.make)(), made_from: wanted.made_from, stats }
        });
        Self { slots: slots.collect(), correlated_ns: policy.correlated_ns, ..Self::default() }
    }

    /// Shows a batch, which [`Batch::check`] has accepted, to every detector. Returns what they
    /// saw, in the order of the detectors.
    pub fn batch(&mut self, batch: &Batch, host: &Arc<Host>) -> Vec<Signal> {
        self.coverage.note(batch, &host.id);
        let events = events(batch, host);
        let mut signals = self.run(|detector, out| {
            events.iter().for_each(|event| detector.on_event(event, out));
        });
        self.complete(&mut signals);
        signals
    }

    /// Tells every detector the time.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Signal> {
        let mut signals = self.run(|detector, out| detector.on_tick(now_ns, out));
        self.complete(&mut signals);
        signals
    }

    /// Says what the sensor saw meanwhile, and which revision of the policy is the present one.
    fn complete(&self, signals: &mut [Signal]) {
        for signal in signals {
            signal.coverage = self.coverage.of(&signal.host.id);
            let file = signal.policy.file.as_str();
            if let Ok(at) = self.policies.binary_search_by(|known| known.file.as_str().cmp(file)) {
                signal.policy = Arc::clone(&self.policies[at]);
            }
        }
    }

    /// Returns what each detector did so far.
    pub fn stats(&self) -> Vec<DetectorStats> {
        let stats = |slot: &Slot| DetectorStats {
            evicted: slot.detector.evicted(),
            panics: slot.stats.panics + slot.detector.broken(),
            ..slot.stats
        };
        self.slots.iter().map(stats).collect()
    }

    /// Runs `work` for each detector behind a guard: one that panics loses the rest of the input,
    /// and the others do not notice.
    fn run(&mut self, work: impl Fn(&mut dyn Detector, &mut Vec<Signal>)) -> Vec<Signal> {
        let mut signals = Vec::new();
        for slot in &mut self.slots {
            let before = signals.len();
            // A detector's state is plain data that stays valid, if perhaps incomplete, wherever a
            // panic cuts in, so looking at it afterwards is sound.
            let detector = slot.detector.as_mut();
            if catch_unwind(AssertUnwindSafe(|| work(detector, &mut signals))).is_err() {
                slot.stats.panics += 1;
                tracing::error!(detector = slot.stats.name, "detector panicked and lost an input");
            }
            slot.stats.signals += (signals.len() - before) as u64;
        }
        signals
    }
}

/// What a detector's source says about a type of finding.
pub(crate) struct KindText {
    pub(crate) name: &'static str,
    pub(crate) guardduty: Option<&'static str>,
    pub(crate) description: &'static str,
    pub(crate) remediation: &'static str,
    pub(crate) techniques: &'static [&'static str],
}

/// Makes signals of one type.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) kind: Arc<Kind>,
    pub(crate) policy: Arc<PolicyRef>,
}

impl Reporter {
    pub(crate) fn new(text: &KindText, policy: &Arc<PolicyRef>) -> Self {
        let kind = Kind {
            name: text.name.to_owned(),
            guardduty: text.guardduty.map(str::to_owned),
            description: text.description.to_owned(),
            remediation: text.remediation.to_owned(),
            techniques: text.techniques.iter().map(|id| technique(id)).collect(),
        };
        Self { kind: Arc::new(kind), policy: Arc::clone(policy) }
    }

    /// Returns a signal without actors and evidence. `subject` tells problems of the type on the
    /// host apart.
    pub(crate) fn signal(
        &self,
        host: &Arc<Host>,
        time_ns: u64,
        process: Option<&Arc<Process>>,
        severity: f64,
        subject: &str,
    ) -> Signal {
        Signal {
            kind: Arc::clone(&self.kind),
            severity: Severity::new(severity),
            title: String::new(),
            host: Arc::clone(host),
            time_ns,
            process: process.cloned(),
            actors: Vec::new(),
            evidence: Vec::new(),
            policy: Arc::clone(&self.policy),
            exactness: Exactness::Exact,
            coverage: Coverage::default(),
            dedup_key: format!("{}|{}|{subject}", self.kind.name, host.id.0),
            count: 1,
        }
    }
}

/// A detector's state, host by host.
pub(crate) type PerHost<T> = Keyed<HostId, T>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventKind;

    struct Counting(&'static str, u64);

    impl Detector for Counting {
        fn name(&self) -> &'static str {
            self.0
        }

        fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
            assert!(self.0 != "broken" || event.time_ns != 2, "broken at the second event");
            self.1 += 1;
            let text = KindText {
                name: self.0,
                guardduty: None,
                description: "",
                remediation: "",
                techniques: &[],
            };
            let policy = PolicyRef {
                id: String::new(),
                file: String::new(),
                revision: String::new(),
                author: None,
            };
            assert!(matches!(event.kind, EventKind::Exit { .. }));
            let reporter = Reporter::new(&text, &Arc::new(policy));
            out.push(reporter.signal(&event.host, event.time_ns, None, 1.0, ""));
        }

        fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
    }

    #[test]
    fn a_detector_that_panics_loses_the_input_and_the_others_do_not() {
        let slot = |name| Slot {
            detector: Box::new(Counting(name, 0)),
            made_from: String::new(),
            stats: DetectorStats { name, ..DetectorStats::default() },
        };
        let slots = vec![slot("broken"), slot("sound")];
        let mut detectors = Detectors { slots, ..Detectors::default() };
        let batch = scenario::exits_at(&[1, 2, 3]);
        let host = scenario::host("h");
        assert_eq!(detectors.batch(&batch, &host).len(), 4);
        assert_eq!(detectors.batch(&scenario::exits_at(&[4]), &host).len(), 2);
        let stats = detectors.stats();
        assert_eq!((stats[0].panics, stats[0].signals), (1, 2));
        assert_eq!((stats[1].panics, stats[1].signals), (0, 4));
    }
}
