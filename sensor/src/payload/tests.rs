//! Messages, their repetitions and their owners in every order in which they can be read.

use wire::record::{Dns, Tls};

use super::*;

const CLOCK: ClockPair = ClockPair { boot_ns: 0, unix_ns: 0 };

fn dns(fingerprint: u64) -> Payload {
    let record = Record::Dns(Dns { count: 1, ..Dns::default() });
    Payload { tuple: Tuple::default(), fingerprint, record }
}

fn again(fingerprint: u64, count: u64) -> (u64, Repeats) {
    (fingerprint, Repeats { count, last_ns: 9 })
}

fn tick(payloads: &mut Payloads, repeats: &[(u64, Repeats)]) -> (Vec<(u64, u64)>, u64) {
    let told = payloads.tick(repeats.to_vec(), CLOCK, |_| true);
    for (payload, events) in &told.messages {
        assert!(matches!(&payload.record, Record::Dns(dns) if dns.count == *events));
    }
    let messages = told.messages.iter().map(|(payload, events)| (payload.fingerprint, *events));
    (messages.collect(), told.unmatched)
}

#[test]
fn repetitions_join_their_message() {
    let mut payloads = Payloads::default();
    assert!(payloads.take(dns(7)) && payloads.take(dns(8)));
    assert_eq!(tick(&mut payloads, &[again(7, 41)]), (vec![(7, 42), (8, 1)], 0));
    assert_eq!(tick(&mut payloads, &[]), (vec![], 0));
}

#[test]
fn two_cpus_may_see_a_message_first() {
    let mut payloads = Payloads::default();
    assert!(payloads.take(dns(7)) && payloads.take(dns(7)));
    assert_eq!(tick(&mut payloads, &[again(7, 3)]), (vec![(7, 5)], 0));
}

#[test]
fn repetitions_that_are_read_after_their_message_are_told_too() {
    let mut payloads = Payloads::default();
    payloads.take(dns(7));
    assert_eq!(tick(&mut payloads, &[]), (vec![(7, 1)], 0));
    assert_eq!(tick(&mut payloads, &[again(7, 4)]), (vec![(7, 4)], 0));
    // The tick in which it was told has passed by now.
    assert_eq!(tick(&mut payloads, &[]), (vec![], 0));
    assert_eq!(tick(&mut payloads, &[again(7, 4)]), (vec![], 0));
    assert_eq!(tick(&mut payloads, &[]), (vec![], 4));
}

#[test]
fn repetitions_that_are_read_before_their_message_wait_for_it() {
    let mut payloads = Payloads::default();
    assert_eq!(tick(&mut payloads, &[again(7, 4)]), (vec![], 0));
    payloads.take(dns(7));
    assert_eq!(tick(&mut payloads, &[]), (vec![(7, 5)], 0));
}

#[test]
fn a_message_without_an_owner_waits_for_one_tick() {
    let mut payloads = Payloads::default();
    payloads.take(dns(7));
    assert!(payloads.tick(vec![again(7, 1)], CLOCK, |_| false).messages.is_empty());
    let told = payloads.tick(vec![again(7, 1)], CLOCK, |_| false);
    assert_eq!(told.messages.iter().map(|(_, events)| *events).collect::<Vec<_>>(), [3]);
}

#[test]
fn what_is_not_compared_stays_apart() {
    let mut payloads = Payloads::default();
    let record = Record::Tls(Tls::default());
    for _ in 0..2 {
        payloads.take(dns(0));
        let tuple = Tuple::default();
        payloads.take(Payload { tuple, fingerprint: 0, record: record.clone() });
    }
    assert_eq!(payloads.finish(Vec::new(), CLOCK).messages.len(), 4);
}

#[test]
fn nothing_waits_after_the_end() {
    let mut payloads = Payloads::default();
    payloads.take(dns(7));
    let told = payloads.finish(vec![again(7, 2), again(9, 5)], CLOCK);
    assert_eq!((told.messages.len(), told.messages[0].1, told.unmatched), (1, 3, 5));
}

#[test]
fn a_flood_is_refused_beyond_the_limit() {
    let mut payloads = Payloads::default();
    let refused = (0..WAITING_MAX as u64 + 10).filter(|n| !payloads.take(dns(n + 1))).count();
    assert_eq!(refused, 10);
}
