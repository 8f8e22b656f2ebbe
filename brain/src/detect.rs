//! Detection: what happened on a host goes in, sightings of problems come out.
//!
//! A detector is pure. It learns the time from records and ticks, keeps bounded state per host, and
//! never looks at another host's state, so the order in which hosts' batches arrive changes
//! nothing. One detection is one file; [`Detectors::new`] lists them all.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use wire::batch::Batch;

use crate::finding::{Coverage, Exactness, Kind, PolicyRef, Severity, Signal, technique};
use crate::policy::PolicySet;
use crate::record::{Event, Host, HostId, Process, events};
use crate::window::keyed::Keyed;

mod coverage;
pub mod fileless;
pub mod kernel_module;
pub mod listed_address;
pub mod port_scan;
pub mod reverse_shell;
mod shell;
pub mod sigma;

#[cfg(test)]
mod scenario;

use coverage::CoverageTable;

/// Hosts that a detector keeps state for. A brain is meant for thousands; past this the host that
/// was silent longest is forgotten.
pub(crate) const HOSTS_MAX: usize = 16_384;

/// One detection.
pub trait Detector: Send {
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
}

/// What a detector did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DetectorStats {
    /// Its name.
    pub name: &'static str,
    /// Signals that it emitted.
    pub signals: u64,
    /// Inputs during which it panicked; the rest of such an input it did not see.
    pub panics: u64,
    /// State entries that left because a limit was reached.
    pub evicted: u64,
}

/// All detectors that the policies switch on.
pub struct Detectors {
    slots: Vec<Slot>,
    coverage: CoverageTable,
}

struct Slot {
    detector: Box<dyn Detector>,
    stats: DetectorStats,
}

impl fmt::Debug for Detectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| slot.stats)).finish()
    }
}

impl Detectors {
    /// How much of the journal before a checkpoint must be replayed, signals discarded, to rebuild
    /// the detectors' state: the longest window that a setting allows. A connection that was opened
    /// earlier and has been silent since is not known to [`reverse_shell`] afterwards.
    pub const MEMORY_NS: u64 = 3_600 * 1_000_000_000;

    /// Returns the detectors with settings from `policy`.
    pub fn new(policy: &PolicySet) -> Self {
        let settings = &policy.settings;
        let mut detectors: Vec<Box<dyn Detector>> = Vec::new();
        if let Some(active) = &settings.port_scan {
            detectors.push(Box::new(port_scan::PortScan::new(active)));
        }
        if let Some(active) = &settings.reverse_shell {
            detectors.push(Box::new(reverse_shell::ReverseShell::new(active)));
        }
        if let Some(active) = &settings.fileless {
            detectors.push(Box::new(fileless::Fileless::new(active)));
        }
        if let Some(active) = &settings.kernel_module {
            detectors.push(Box::new(kernel_module::KernelModule::new(active)));
        }
        if let Some(active) = &settings.listed_address {
            detectors.push(Box::new(listed_address::ListedAddress::new(active, &policy.intel)));
        }
        if let Some(active) = &settings.sigma {
            detectors.push(Box::new(sigma::Sigma::new(active, &policy.rules)));
        }
        Self::of(detectors)
    }

    fn of(detectors: Vec<Box<dyn Detector>>) -> Self {
        let slot = |detector: Box<dyn Detector>| {
            let stats = DetectorStats { name: detector.name(), ..DetectorStats::default() };
            Slot { detector, stats }
        };
        Self {
            slots: detectors.into_iter().map(slot).collect(),
            coverage: CoverageTable::default(),
        }
    }

    /// Shows a batch, which [`Batch::check`] has accepted, to every detector. Returns what they
    /// saw, in the order of the detectors.
    pub fn batch(&mut self, batch: &Batch, host: &Arc<Host>) -> Vec<Signal> {
        self.coverage.note(batch, &host.id);
        let events = events(batch, host);
        let mut signals = self.run(|detector, out| {
            events.iter().for_each(|event| detector.on_event(event, out));
        });
        for signal in &mut signals {
            signal.coverage = self.coverage.of(&signal.host.id);
        }
        signals
    }

    /// Tells every detector the time.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Signal> {
        let mut signals = self.run(|detector, out| detector.on_tick(now_ns, out));
        for signal in &mut signals {
            signal.coverage = self.coverage.of(&signal.host.id);
        }
        signals
    }

    /// Returns what each detector did so far.
    pub fn stats(&self) -> Vec<DetectorStats> {
        let stats = |slot: &Slot| DetectorStats { evicted: slot.detector.evicted(), ..slot.stats };
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
        let detectors: Vec<Box<dyn Detector>> =
            vec![Box::new(Counting("broken", 0)), Box::new(Counting("sound", 0))];
        let mut detectors = Detectors::of(detectors);
        let batch = scenario::exits_at(&[1, 2, 3]);
        let host = scenario::host("h");
        assert_eq!(detectors.batch(&batch, &host).len(), 4);
        assert_eq!(detectors.batch(&scenario::exits_at(&[4]), &host).len(), 2);
        let stats = detectors.stats();
        assert_eq!((stats[0].panics, stats[0].signals), (1, 2));
        assert_eq!((stats[1].panics, stats[1].signals), (0, 4));
    }
}
