//! The body of a batch as columns or as rows, without compression: what it says is at hand.

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN};
use wire::limits;
use wire::record::{
    Coverage, Dns, DnsAnswer, Exec, Flow, LedgerLine, Login, Process, ProcessRef, Syscalls,
};
use wire::text::{StrId, StringTableBuilder};

use super::frame::{self, BATCH, BATCH_MAX, COLUMNS, PLAIN};
use super::{KIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "batch",
    what: "a batch as columns or as rows",
    input_max: 8 * KIB,
    memory_max: 2 * BATCH_MAX + 4 * limits::BODY_MAX,
    control: false,
    check,
    seeds,
};

pub(super) const POSITION: Position =
    Position { epoch: 1_700_000_000_000_000_000, lane: Lane::Security, seq: 7 };

fn check(input: &[u8]) {
    let Some((choice, body)) = choice(input, 2) else { return };
    let codec = if choice == 0 { COLUMNS } else { PLAIN };
    frame::decode(&frame::signed(BATCH, codec, body.len() as u32, body));
}

/// A batch that has lists within its records, strings and processes.
pub(super) fn sample() -> Batch {
    let mut batch = Batch::empty(POSITION, Clock { boot_ns: 5, unix_ns: 6 });
    let mut strings = StringTableBuilder::default();
    let exe = strings.add(b"/usr/bin/bash").unwrap_or_default();
    let name = strings.add(b"example.test").unwrap_or_default();
    batch.strings = strings.finish();
    let process = ProcessRef(1);
    batch.processes = vec![Process { pid: 42, start_ns: 9, exe, ..Process::default() }];
    batch.execs.push(Exec { process, ..Exec::default() });
    batch.flows.push(Flow { process, ..Flow::default() });
    let answers = vec![DnsAnswer { kind: 1, ttl: 2, data: StrId(1) }];
    batch.dns.push(Dns { process, name, answers, ..Default::default() });
    batch.logins.push(Login { process, user: name, ..Default::default() });
    batch.syscalls.push(Syscalls { process, latency: vec![1; 64], ..Default::default() });
    let ledger = vec![LedgerLine { signal: name, outcome: exe, count: 3 }];
    batch.coverage = Some(Coverage { ledger, ..Default::default() });
    batch
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = codec::encode_batch(&sample()).expect("it is short");
    // Small batches are not compressed, so that these are columns as they are.
    let small = Batch::empty(POSITION, Clock::default());
    let plain = codec::encode_batch(&small).expect("it is short");
    vec![
        [&[0][..], &plain[HEADER_LEN..]].concat(),
        [&[0][..], &whole[HEADER_LEN..]].concat(),
        // Empty batches: numbers that are mostly zero.
        [&[0][..], &[0; 27]].concat(),
        [&[1][..], &[0; 48]].concat(),
    ]
}
