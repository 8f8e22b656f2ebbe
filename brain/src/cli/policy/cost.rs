//! What a rule costs: each by itself, over the events of all samples, through the real detector.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::detect::{Detector as _, sigma};
use crate::policy::{Active, PolicySet, sample};
use crate::record::Event;

/// Passes over all events; the fastest counts, since whatever else the machine does only adds.
const PASSES: usize = 5;

/// Events of samples that are used: enough to tell a costly rule from a cheap one.
const EVENTS_MAX: usize = 2_000;

/// Measuring ends after this; rules that were not reached have no figure.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What one rule costs.
#[derive(Clone, Debug)]
pub(super) struct Cost {
    /// The rule's file.
    pub(super) file: String,
    /// Its id.
    pub(super) id: String,
    /// Nanoseconds for one event, averaged over the events of all logs.
    pub(super) ns_per_event: f64,
}

/// Measures every rule, the costliest first.
pub(super) fn measure(set: &PolicySet) -> Vec<Cost> {
    let Some(active) = &set.settings.sigma else { return Vec::new() };
    let mut events = sample::events(set);
    events.truncate(EVENTS_MAX);
    if events.is_empty() {
        return Vec::new();
    }
    let begun = Instant::now();
    let mut costs = Vec::new();
    for rule in &set.rules {
        if begun.elapsed() > TIME_MAX {
            break;
        }
        let took = fastest(active, rule, &events);
        let ns_per_event = took.as_nanos() as f64 / events.len() as f64;
        let (file, id) = (rule.policy.file.clone(), rule.policy.id.clone());
        costs.push(Cost { file, id, ns_per_event });
    }
    costs.sort_by(|a, b| b.ns_per_event.total_cmp(&a.ns_per_event));
    costs
}

fn fastest(
    active: &Active<crate::policy::Sigma>,
    rule: &Arc<sigma::Rule>,
    events: &[Event],
) -> Duration {
    let mut detector = sigma::Sigma::new(active, std::slice::from_ref(rule), &[]);
    let mut signals = Vec::new();
    let mut pass = || {
        let begun = Instant::now();
        for event in events {
            detector.on_event(event, &mut signals);
            signals.clear();
        }
        begun.elapsed()
    };
    (0..PASSES).map(|_| pass()).min().unwrap_or_default()
}
