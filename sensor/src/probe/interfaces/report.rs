//! What became of the packet programs on each interface, grouped for people to read (pure).

use std::collections::BTreeMap;

use sensor_abi::seen::Signal;

use super::super::HookReport;

/// How one program fares on one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// How it is attached; `None` when it is not.
    pub(super) how: Option<&'static str>,
    /// Why not in a better way, or why not at all.
    pub(super) why: Vec<String>,
}

/// What became of one program on each interface.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    attached: BTreeMap<String, Vec<String>>,
    stands_in: BTreeMap<String, Vec<String>>,
    pub(super) errors: Vec<String>,
}

impl Outcome {
    pub(super) fn add(&mut self, name: &str, state: &State) {
        match state.how {
            Some(how) => {
                self.attached.entry(how.to_owned()).or_default().push(name.to_owned());
                state.why.iter().for_each(|why| self.stands_in(why, name));
            }
            None => self.errors.extend(state.why.iter().map(|why| format!("{name}: {why}"))),
        }
    }

    pub(super) fn stands_in(&mut self, why: &str, name: &str) {
        self.stands_in.entry(why.to_owned()).or_default().push(name.to_owned());
    }

    pub(super) fn report(self, name: &'static str, lost: &'static str) -> HookReport {
        let complete = self.errors.is_empty() && !self.attached.is_empty();
        let mut errors = self.errors;
        if errors.is_empty() && self.attached.is_empty() {
            errors.push("the namespace has no interface to watch yet".to_owned());
        }
        HookReport {
            name,
            signal: Signal::Flow.name(),
            required: true,
            lost: (!complete).then_some(lost),
            attached: on_interfaces(&self.attached),
            stands_in: on_interfaces(&self.stands_in),
            error: (!errors.is_empty()).then(|| errors.join("; ")),
        }
    }
}

fn on_interfaces(groups: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let texts: Vec<String> =
        groups.iter().map(|(what, names)| format!("{what} on {}", names.join(", "))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_grouped_by_what_became_of_them() {
        let mut outcome = Outcome::default();
        let state = |how, why: &[&str]| State { how, why: why.iter().map(|&w| w.into()).collect() };
        outcome.add("eth0", &state(Some("xdp native"), &[]));
        outcome.add("eth1", &state(Some("xdp native"), &[]));
        outcome.add("lo", &state(Some("tcx"), &["xdp native: the driver has none"]));
        outcome.add("bad0", &state(None, &["refused"]));
        let report = outcome.report("ingress", "packets");
        assert_eq!(report.attached.as_deref(), Some("tcx on lo; xdp native on eth0, eth1"));
        let stands_in = report.stands_in.as_deref();
        assert_eq!(stands_in, Some("xdp native: the driver has none on lo"));
        assert_eq!(report.error.as_deref(), Some("bad0: refused"));
        assert_eq!(report.lost, Some("packets"));
    }

    #[test]
    fn without_an_interface_nothing_is_counted() {
        let report = Outcome::default().report("egress", "packets");
        assert_eq!((report.attached, report.lost), (None, Some("packets")));
    }
}
