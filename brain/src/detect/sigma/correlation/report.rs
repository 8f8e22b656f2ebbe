//! A correlation that holds, as a sighting of a problem.

use std::sync::Arc;

use super::running::Raised;
use super::{Number, SECOND_NS};
use crate::detect::Reporter;
use crate::detect::sigma::evidence;
use crate::finding::{Actor, ActorKind, Evidence, Exactness, Signal};
use crate::record::{Event, EventKind};
use crate::text;

/// Returns the sighting.
pub(in super::super) fn signal(raised: &Raised) -> Signal {
    let Raised { correlation, completed, .. } = raised;
    let reporter =
        Reporter { kind: Arc::clone(&correlation.kind), policy: Arc::clone(&correlation.policy) };
    let subject = format!("{}|{:032x}", correlation.policy.id, raised.key);
    let (process, severity) = (completed.process.as_ref(), correlation.severity.value());
    let mut signal = reporter.signal(&completed.host, raised.last_ns, process, severity, &subject);
    if raised.fleet {
        signal.dedup_key = format!("{}|fleet|{subject}", correlation.kind.name);
    }
    signal.title = title(raised);
    signal.count = raised.events;
    signal.exactness = match (raised.gap, raised.coarse) {
        (true, _) => Exactness::Gap,
        (false, true) => Exactness::Sketch,
        (false, false) => Exactness::Exact,
    };
    signal.evidence.push(summary(raised));
    for event in &raised.evidence {
        let (kind, summary, mut fields) = evidence(event);
        fields.push(("host", text::visible_str(&event.host.name).into()));
        signal.evidence.push(Evidence {
            time_ns: event.time_ns,
            kind,
            summary,
            fields,
            slot: None,
        });
        for actor in actors(event, raised.fleet) {
            if !signal.actors.contains(&actor) {
                signal.actors.push(actor);
            }
        }
    }
    signal
}

fn title(raised: &Raised) -> String {
    let host = &raised.completed.host.name;
    let shared = raised.label.iter().filter(|value| !value.is_empty() && *value != host);
    let shared = shared.map(String::as_str).collect::<Vec<_>>().join(", ");
    let (title, host) = (&raised.correlation.title, text::visible_str(host));
    match (shared.is_empty(), raised.fleet) {
        (false, false) => format!("{title}: {shared} on {host}"),
        (true, false) => format!("{title} on {host}"),
        (false, true) => format!("{title}: {shared}"),
        (true, true) => title.clone(),
    }
}

/// What was compared, in one sentence; the newest takes the place of those before it.
fn summary(raised: &Raised) -> Evidence {
    let spec = &raised.correlation.spec;
    let seconds = spec.compared.span_ns / SECOND_NS;
    let (number, fields) = (raised.number, spec.fields.join(", "));
    let what = match spec.compared.number {
        Number::Events => format!("{number} events"),
        Number::Distinct if fields.is_empty() => format!("{number} of the rules\' events"),
        Number::Distinct => format!("{number} values of {fields}"),
        Number::Sum => format!("a sum of {number} in {fields}"),
        Number::Mean => format!("a mean of {number} in {fields}"),
        Number::Share => format!("values of {fields} that make up {number} %"),
        Number::Ordered => format!("{number} events in their order"),
    };
    let kind = evidence(&raised.completed).0;
    let mut shared = Vec::new();
    for (name, value) in spec.group_by.iter().zip(raised.label.iter()) {
        shared.push(format!("{} {value}", text::visible_str(name)));
    }
    let by = if shared.is_empty() { String::new() } else { format!(", by {}", shared.join(", ")) };
    let summary = format!("{} within {seconds} s{by}", text::visible_str(&what));
    let fields = vec![
        ("rule", raised.correlation.title.clone().into()),
        ("first_ns", raised.first_ns.into()),
        ("last_ns", raised.last_ns.into()),
        ("window_s", seconds.into()),
    ];
    let slot = Some("correlation".to_owned());
    Evidence { time_ns: raised.last_ns, kind, summary, fields, slot }
}

fn actors(event: &Event, fleet: bool) -> Vec<Actor> {
    let mut actors = Vec::new();
    let mut add = |kind, value: String| {
        if !value.is_empty() {
            actors.push(Actor { kind, value });
        }
    };
    if fleet {
        add(ActorKind::Host, text::visible_str(&event.host.name));
    }
    if let Some(process) = &event.process {
        add(ActorKind::Process, process.executable());
    }
    if let EventKind::Login(login) = &event.kind {
        add(ActorKind::Address, login.remote.map(|ip| ip.to_string()).unwrap_or_default());
        add(ActorKind::User, text::visible(&login.user));
    }
    actors
}
