//! Detectors for changed policies: made beside those at work, then put in their place.
//!
//! Compiling thousands of rules takes seconds, and letting go of them is not free either. Both are
//! done on another thread than the one that looks at events, which only swaps.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Detector, DetectorStats, Detectors, Slot, list};
use crate::finding::PolicyRef;
use crate::policy::PolicySet;

/// What detectors were made from, by their name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made(HashMap<&'static str, String>);

/// Detectors that wait to take the place of others.
pub struct Prepared {
    waiting: Vec<Waiting>,
    policies: Vec<Arc<PolicyRef>>,
    correlated_ns: u64,
}

struct Waiting {
    name: &'static str,
    made_from: String,
    /// None where the one at work was made from just the same.
    detector: Option<Box<dyn Detector>>,
}

/// Detectors that are no longer needed, to be dropped where nobody waits.
pub struct Replaced(Vec<Box<dyn Detector>>);

impl Prepared {
    /// Makes what `policy` switches on, other than what is at work and was made from just the same.
    pub fn new(policy: &PolicySet, at_work: &Made) -> Self {
        let waiting = list(policy).into_iter().map(|wanted| {
            let is_same = at_work.0.get(wanted.name) == Some(&wanted.made_from);
            let detector = (!is_same).then(|| (wanted.make)());
            Waiting { name: wanted.name, made_from: wanted.made_from, detector }
        });
        Self {
            waiting: waiting.collect(),
            policies: policy.refs.clone(),
            correlated_ns: policy.correlated_ns,
        }
    }

    /// Returns what will have been at work once these are.
    pub fn made(&self) -> Made {
        let made = self.waiting.iter().map(|waiting| (waiting.name, waiting.made_from.clone()));
        Made(made.collect())
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.waiting.iter().map(|waiting| waiting.name)).finish()
    }
}

impl fmt::Debug for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|detector| detector.name())).finish()
    }
}

impl Detectors {
    /// Takes in changed policies. A detector that was made from just the same stays, with all that
    /// it remembers; another one takes over what it can use of that.
    pub fn replace(&mut self, prepared: Prepared) -> Replaced {
        let mut before: HashMap<&str, Slot> =
            self.slots.drain(..).map(|slot| (slot.stats.name, slot)).collect();
        let mut replaced = Vec::new();
        for Waiting { name, made_from, detector } in prepared.waiting {
            let slot = match (before.remove(name), detector) {
                (Some(slot), None) => slot,
                (Some(slot), Some(spare)) if slot.made_from == made_from => {
                    replaced.push(spare);
                    slot
                }
                (Some(slot), Some(mut detector)) => {
                    let mut old = slot.detector;
                    detector.inherit(old.as_mut());
                    replaced.push(old);
                    Slot { detector, made_from, stats: slot.stats }
                }
                (None, Some(detector)) => {
                    let stats = DetectorStats { name, ..DetectorStats::default() };
                    Slot { detector, made_from, stats }
                }
                (None, None) => {
                    // Whoever prepared was told of others than these.
                    tracing::error!(detector = name, "detector was left out and is not at work");
                    continue;
                }
            };
            self.slots.push(slot);
        }
        replaced.extend(before.into_values().map(|slot| slot.detector));
        // A file that is as it was can be of another commit, which findings name from now on.
        self.policies = prepared.policies;
        self.correlated_ns = prepared.correlated_ns;
        Replaced(replaced)
    }

    /// Returns what the detectors were made from.
    pub fn made(&self) -> Made {
        let made = self.slots.iter().map(|slot| (slot.stats.name, slot.made_from.clone()));
        Made(made.collect())
    }
}

impl Replaced {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
