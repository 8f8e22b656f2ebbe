//! Batches for tests, and the attack that the demonstration runs, as a scenario.

use std::sync::Arc;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::record::{Exec, Exit, Process, ProcessRef};
use wire::text::StringTableBuilder;

use crate::record::{Host, HostId};

/// Returns a host that is called by its id.
pub(crate) fn host(name: &str) -> Arc<Host> {
    Arc::new(Host { id: HostId(name.into()), name: name.to_owned(), role: "test".to_owned() })
}

fn empty() -> Batch {
    Batch::empty(Position { epoch: 1, lane: Lane::Bulk, seq: 1 }, Clock::default())
}

/// Returns a batch in which something ends at each of these times.
pub(crate) fn exits_at(times: &[u64]) -> Batch {
    let mut batch = empty();
    batch.exits = times.iter().map(|&time_ns| Exit { time_ns, ..Exit::default() }).collect();
    batch
}

/// Returns a batch in which a process without a parent executes `exe` with `command`'s words.
pub(crate) fn exec_batch(exe: &str, command: &str) -> Batch {
    let mut strings = StringTableBuilder::default();
    let args: String = command.split(' ').flat_map(|word| [word, "\0"]).collect();
    let mut batch = empty();
    batch.processes.push(Process {
        pid: 7,
        exe: strings.add(exe.as_bytes()).unwrap(),
        args: strings.add(args.as_bytes()).unwrap(),
        ..Process::default()
    });
    batch.execs.push(Exec { process: ProcessRef(1), ..Exec::default() });
    batch.strings = strings.finish();
    batch
}
