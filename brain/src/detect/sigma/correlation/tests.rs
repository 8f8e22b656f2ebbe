//! Windows against plain counting over all events at once, in any order of arrival.

use proptest::prelude::*;

use super::measure::PARTS;
use super::scope::{GROUPS_MAX, Heard, Scope};
use super::sliding::LATE_NS;
use super::*;

const MS: u64 = 1_000_000;
/// Long before any event, so that nothing is below zero.
const BASE_NS: u64 = 1_700_000_000 * SECOND_NS;

fn compared(number: Number, condition: &str, span_ns: u64, members: usize) -> Compared {
    let node = crate::policy::node::parse(condition).unwrap();
    let condition = Condition::parse(node.as_map().unwrap()).unwrap();
    Compared { span_ns, condition, number, members }
}

/// One group's scope, with what it told.
struct Group {
    scope: Scope,
    compared: Compared,
    measure: Measure,
    heard: Vec<Heard>,
    label: Label,
}

impl Group {
    fn new(compared: Compared) -> Self {
        let measure = compared.measure();
        let (scope, heard, label) = (Scope::default(), Vec::new(), Label::from([]));
        Self { scope, compared, measure, heard, label }
    }

    fn add(&mut self, key: u128, time_ns: u64, value: u128) {
        let entry = Entry::new(time_ns, value, 0);
        let (compared, measure) = (&self.compared, &mut self.measure);
        self.scope.add((key, &self.label, None), entry, compared, measure, &mut self.heard);
    }

    fn end(&mut self) {
        self.scope.advance(u64::MAX / 2, &self.compared, &mut self.heard);
    }

    fn told(&self) -> u64 {
        self.heard.iter().map(|heard| heard.told.events).sum()
    }
}

/// Returns the number of a window, counted plainly.
fn number(compared: &Compared, window: &[(u64, u128)]) -> f64 {
    let sum = || window.iter().map(|(_, value)| value.cast_signed()).sum::<i128>() as f64 / PARTS;
    let mut values: Vec<u128> = window.iter().map(|(_, value)| *value).collect();
    values.sort_unstable();
    values.dedup();
    match compared.number {
        Number::Events => window.len() as f64,
        Number::Distinct => values.len() as f64,
        Number::Sum => sum(),
        Number::Mean => sum() / window.len() as f64,
        Number::Ordered => {
            let mut wanted = 0;
            let mut sorted = window.to_vec();
            sorted.sort_unstable();
            for (_, value) in sorted {
                wanted += usize::from(value == wanted as u128);
            }
            if wanted == compared.members { wanted as f64 } else { 0.0 }
        }
        Number::Share => unreachable!("judged by its own test"),
    }
}

/// Returns which events lie in a window, as long as the span, that meets the condition.
fn sliding_events(compared: &Compared, events: &[(u64, u128)]) -> Vec<bool> {
    let mut met = vec![false; events.len()];
    for &(end, _) in events {
        let within = |&(time, _): &(u64, u128)| time <= end && time + compared.span_ns >= end;
        let window: Vec<(u64, u128)> = events.iter().copied().filter(|e| within(e)).collect();
        if compared.condition.holds(number(compared, &window)) {
            for (at, event) in events.iter().enumerate() {
                met[at] |= within(event);
            }
        }
    }
    met
}

/// Returns how many events lie in windows, one after the other, that meet the condition.
fn whole_events(compared: &Compared, events: &[(u64, u128)]) -> u64 {
    let mut rest = events.to_vec();
    rest.sort_unstable();
    let mut met = 0;
    while let Some(&(start, _)) = rest.first() {
        let end = rest.partition_point(|&(time, _)| time <= start + compared.span_ns);
        let window: Vec<(u64, u128)> = rest.drain(..end).collect();
        if compared.condition.holds(number(compared, &window)) {
            met += window.len() as u64;
        }
    }
    met
}

fn run(compared: &Compared, events: &[(u64, u128)]) -> Group {
    let mut group = Group::new(compared.clone());
    events.iter().for_each(|&(time_ns, value)| group.add(0, time_ns, value));
    group.end();
    group
}

/// Times in milliseconds within less than the bound on lateness, so that any order is allowed.
fn events() -> impl Strategy<Value = Vec<(u64, u128)>> {
    proptest::collection::vec((0u64..40, 0u128..4), 1..50).prop_map(|events| {
        let at = |(time, value)| (BASE_NS + time * MS, value);
        events.into_iter().map(at).collect()
    })
}

proptest! {
    #[test]
    fn what_slides_tells_the_events_that_plain_counting_finds(
        events in events(),
        span_ms in 1u64..20,
        least in 1u64..8,
    ) {
        for kind in [Number::Events, Number::Sum] {
            let least = format!("gte: {least}");
            let compared = compared(kind, &least, span_ms * MS, 1);
            let scaled = |&(time, value): &(u64, u128)| match kind {
                Number::Sum => (time, value * PARTS as u128),
                _ => (time, 0),
            };
            let events: Vec<(u64, u128)> = events.iter().map(scaled).collect();
            let wanted = sliding_events(&compared, &events);
            let group = run(&compared, &events);
            prop_assert_eq!(group.told(), wanted.iter().filter(|met| **met).count() as u64);
            prop_assert_eq!(group.scope.late(), 0);
        }
    }

    /// Events that join a neighbour of their value count with it, so only whether anything is told
    /// is compared.
    #[test]
    fn distinct_values_and_orders_are_found_when_plain_counting_finds_them(
        events in events(),
        span_ms in 1u64..20,
        least in 1u64..5,
    ) {
        let ordered = compared(Number::Ordered, "gte: 4", span_ms * MS, 4);
        let distinct = compared(Number::Distinct, &format!("gte: {least}"), span_ms * MS, 4);
        for compared in [ordered, distinct] {
            let wanted = sliding_events(&compared, &events).contains(&true);
            prop_assert_eq!(run(&compared, &events).told() > 0, wanted, "{:?}", compared.number);
        }
    }

    #[test]
    fn what_is_judged_at_its_end_is_judged_as_plain_counting_does(
        events in events(),
        span_ms in 1u64..20,
        bound in 1u64..6,
        kind in prop_oneof![
            Just((Number::Events, "lt")),
            Just((Number::Events, "eq")),
            Just((Number::Distinct, "lte")),
            Just((Number::Distinct, "neq")),
            Just((Number::Sum, "lt")),
            Just((Number::Mean, "gte")),
        ],
    ) {
        let compared = compared(kind.0, &format!("{}: {bound}", kind.1), span_ms * MS, 4);
        let scale = if matches!(kind.0, Number::Sum | Number::Mean) { PARTS as u128 } else { 1 };
        let events: Vec<(u64, u128)> =
            events.into_iter().map(|(time, value)| (time, value * scale)).collect();
        prop_assert_eq!(run(&compared, &events).told(), whole_events(&compared, &events));
    }
}

/// a window's edge, to the millisecond and to the nanosecond.
#[test]
fn an_event_is_in_a_window_up_to_its_last_nanosecond() {
    let mut checked = 0;
    for (kind, values) in [
        (Number::Events, [0, 0, 0]),
        (Number::Distinct, [1, 2, 3]),
        (Number::Sum, [PARTS as u128; 3]),
        (Number::Ordered, [0, 1, 2]),
    ] {
        for (apart_ns, wanted) in [
            (60 * SECOND_NS - MS, true),
            (60 * SECOND_NS - 1, true),
            (60 * SECOND_NS, true),
            (60 * SECOND_NS + 1, false),
            (60 * SECOND_NS + MS, false),
        ] {
            for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
                let times = [BASE_NS, BASE_NS + 7 * SECOND_NS, BASE_NS + apart_ns];
                let mut group = Group::new(compared(kind, "gte: 3", 60 * SECOND_NS, 3));
                order.iter().for_each(|&at| group.add(0, times[at], values[at]));
                assert_eq!(group.heard.len(), usize::from(wanted), "{kind:?} {apart_ns} {order:?}");
                checked += 1;
            }
        }
    }
    for (apart_ns, wanted) in [(60 * SECOND_NS, 2), (60 * SECOND_NS + 1, 1)] {
        let mut group = Group::new(compared(Number::Events, "eq: 2", 60 * SECOND_NS, 1));
        [0, apart_ns].iter().for_each(|&apart| group.add(0, BASE_NS + apart, 0));
        group.end();
        assert_eq!(group.heard.len(), usize::from(wanted == 2), "{apart_ns}");
        checked += 1;
    }
    println!("figure R-04: {checked} window edges, 0 errors");
}

#[test]
fn an_event_that_is_late_is_placed_and_one_that_is_too_late_is_counted() {
    let span_ns = 10 * SECOND_NS;
    let mut group = Group::new(compared(Number::Events, "gte: 3", span_ns, 1));
    group.add(0, BASE_NS, 0);
    group.add(0, BASE_NS + SECOND_NS, 0);
    group.add(0, BASE_NS + span_ns + LATE_NS, 0);
    assert_eq!(group.heard.len(), 0);
    group.add(0, BASE_NS + 2 * SECOND_NS, 0);
    assert_eq!((group.heard.len(), group.told(), group.scope.late()), (1, 3, 0));
    assert_eq!(group.heard[0].told.last_ns, BASE_NS + 2 * SECOND_NS);
    group.add(0, BASE_NS - 1, 0);
    assert_eq!((group.told(), group.scope.late()), (3, 1));
}

#[test]
fn each_event_is_told_once_and_a_flood_is_counted_whole() {
    let mut group = Group::new(compared(Number::Events, "gt: 9", SECOND_NS, 1));
    (0..200_000).for_each(|at| group.add(0, BASE_NS + at * 1_000, 0));
    assert_eq!(group.told(), 200_000);
    // A slow flood below the number, then past it: entries become coarse, no event is lost.
    let mut group = Group::new(compared(Number::Events, "gte: 50000", 3_600 * SECOND_NS, 1));
    (0..60_000).for_each(|at| group.add(0, BASE_NS + at * MS, 0));
    assert_eq!(group.told(), 60_000);
    assert!(group.heard[0].told.coarse);
}

/// Someone tries one name a hundred thousand times so that the other names are forgotten.
#[test]
fn a_flood_of_one_value_hides_no_other() {
    let mut group = Group::new(compared(Number::Distinct, "gte: 5", 600 * SECOND_NS, 1));
    (1..=4).for_each(|value| group.add(0, BASE_NS + value as u64, value));
    (0..100_000).for_each(|at| group.add(0, BASE_NS + SECOND_NS + at * MS, 4));
    assert_eq!(group.heard.len(), 0);
    group.add(0, BASE_NS + 200 * SECOND_NS, 5);
    assert_eq!((group.heard.len(), group.told()), (1, 100_005));
}

/// The same for an order: what is between its first and its last step is made very many.
#[test]
fn a_flood_of_one_step_hides_no_other() {
    let mut group = Group::new(compared(Number::Ordered, "gte: 3", 600 * SECOND_NS, 3));
    group.add(0, BASE_NS, 0);
    (0..20_000).for_each(|at| group.add(0, BASE_NS + SECOND_NS + at * MS, 1));
    assert_eq!(group.heard.len(), 0);
    group.add(0, BASE_NS + 200 * SECOND_NS, 2);
    assert_eq!((group.heard.len(), group.told()), (1, 20_002));
}

/// The share of values that are rare in their window.
#[test]
fn rare_values_are_found_by_their_share() {
    let mut group = Group::new(compared(Number::Share, "lte: 1", 60 * SECOND_NS, 1));
    (0..199).for_each(|at| group.add(0, BASE_NS + at * MS, 7));
    group.add(0, BASE_NS + 50 * MS, 8);
    group.end();
    let told = &group.heard[0].told;
    assert_eq!((group.heard.len(), told.events, told.number), (1, 1, 0.5));
}

/// a million groups, and one among them that somebody works on.
#[test]
fn a_million_groups_stay_within_bounds_and_the_busy_one_is_found() {
    const GROUPS: u128 = 1_000_000;
    for (number, condition) in [(Number::Events, "gte: 20"), (Number::Events, "eq: 20")] {
        let mut group = Group::new(compared(number, condition, 3_600 * SECOND_NS, 1));
        for at in 0..GROUPS {
            group.add(at + 1, BASE_NS + at as u64 * MS, 0);
            if at % (GROUPS / 20) == 0 {
                group.add(0, BASE_NS + at as u64 * MS, 0);
            }
        }
        assert!(group.scope.len() <= GROUPS_MAX);
        assert_eq!(group.scope.evicted() + group.scope.len() as u64, GROUPS as u64 + 1);
        group.end();
        let errors = usize::from(group.heard.len() != 1 || group.told() != 20);
        assert_eq!(errors, 0, "{:?}", group.heard.len());
        println!(
            "figure R-04: 1000001 groups, {condition}: {errors} errors, {GROUPS_MAX} kept, {} \
             evicted and counted",
            group.scope.evicted()
        );
    }
}
