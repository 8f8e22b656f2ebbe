//! Cuts observations into bounded, numbered batches, one sequence per lane. Pure.

use std::rc::Rc;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::limits;
use wire::record::{Coverage, Hook, LedgerLine, MapFill, ProcessRef};
use wire::text::{StrId, StringTableBuilder};

use crate::clock::ClockPair;
use crate::ledger::Events;
use crate::observation::{Observation, Record, Text};
use crate::process::{Key, Process};
use crate::table::Table;

/// Bytes of a batch before compression, by a cautious estimate. Below the limit of a frame even
/// when nothing compresses, so that encoding a batch cannot fail.
const BODY_BUDGET: usize = limits::FRAME_MAX - 64 * 1024;
/// Most bytes that a record can take without its strings: a system call record with every bucket of
/// its latency at its largest.
const RECORD_BYTES: usize = 320;
/// Most bytes that a process can take, its strings apart.
const PROCESS_BYTES: usize = 160;
/// Most bytes that a string adds besides its content: its end, and the answer of a DNS message that
/// names it.
const STRING_BYTES: usize = 20;
/// Most bytes that a hook or a ledger line can take.
const LINE_BYTES: usize = 20;

/// A finished batch and what it stands for in the ledger.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The batch.
    pub batch: Batch,
    /// Events that it carries.
    pub events: Events,
}

/// Coverage in plain words, before its strings are put into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoverageText {
    /// Times, cost and lag; its lists are empty.
    pub figures: Coverage,
    /// Name, how it is attached, and why not or what stands in.
    pub hooks: Vec<[String; 3]>,
    /// Signal, outcome, events.
    pub ledger: Vec<(&'static str, &'static str, u64)>,
    /// Name, entries in use, entries that there is room for, bytes.
    pub maps: Vec<(String, [u64; 3])>,
}

/// The two sequences of one start of the sensor.
#[derive(Debug)]
pub struct Batcher {
    lanes: [LaneCutter; 2],
}

impl Batcher {
    /// Starts both sequences at 1. `start` dates the start of processes.
    pub fn new(epoch: u64, start: ClockPair) -> Self {
        Self { lanes: Lane::ALL.map(|lane| LaneCutter::new(epoch, lane, start)) }
    }

    /// Adds an observation to its lane's open batch. When that has no room left, it is cut and
    /// returned, and the observation starts the next one. The clock is read only then.
    pub fn add(
        &mut self,
        observation: &Observation,
        clock: impl FnOnce() -> ClockPair,
    ) -> Option<Cut> {
        self.lane(observation.record.lane()).add(observation, clock)
    }

    /// Adds coverage to the bulk lane, likewise.
    pub fn add_coverage(&mut self, coverage: &CoverageText, clock: ClockPair) -> Option<Cut> {
        self.lane(Lane::Bulk).add_coverage(coverage, clock)
    }

    /// Cuts the lane's open batch, unless it is empty.
    pub fn cut(&mut self, lane: Lane, clock: ClockPair) -> Option<Cut> {
        let lane = self.lane(lane);
        (lane.open.batch.record_count() > 0).then(|| lane.close(clock))
    }

    /// Returns what waits in open batches.
    pub fn pending(&self) -> Events {
        let mut sum = Events::default();
        self.lanes.iter().for_each(|lane| sum.add(&lane.open.events));
        sum
    }

    fn lane(&mut self, lane: Lane) -> &mut LaneCutter {
        &mut self.lanes[lane as usize]
    }
}

#[derive(Debug)]
struct LaneCutter {
    epoch: u64,
    lane: Lane,
    next_seq: u64,
    open: OpenBatch,
}

impl LaneCutter {
    fn new(epoch: u64, lane: Lane, start: ClockPair) -> Self {
        Self { epoch, lane, next_seq: 1, open: OpenBatch::new(start) }
    }

    fn add(&mut self, observation: &Observation, clock: impl FnOnce() -> ClockPair) -> Option<Cut> {
        let cut = (!self.open.has_room(observation)).then(|| self.close(clock()));
        self.open.add(observation);
        cut
    }

    fn add_coverage(&mut self, coverage: &CoverageText, clock: ClockPair) -> Option<Cut> {
        let lists = [3 * coverage.hooks.len(), 2 * coverage.ledger.len(), coverage.maps.len()];
        let strings = lists.iter().sum();
        let fits = self.open.fits(1, 0, strings, coverage_bytes(coverage));
        let cut = (self.open.batch.coverage.is_some() || !fits).then(|| self.close(clock));
        self.open.add_coverage(coverage);
        cut
    }

    fn close(&mut self, clock: ClockPair) -> Cut {
        let position = Position { epoch: self.epoch, lane: self.lane, seq: self.next_seq };
        self.next_seq += 1;
        let next = OpenBatch::new(self.open.start);
        let clock = Clock { boot_ns: clock.boot_ns, unix_ns: clock.unix_ns };
        std::mem::replace(&mut self.open, next).finish(position, clock)
    }
}

/// A batch that still takes records.
#[derive(Debug)]
struct OpenBatch {
    batch: Batch,
    start: ClockPair,
    strings: StringTableBuilder,
    string_count: usize,
    /// Where the batch holds which image of which process.
    processes: Table<(Key, u32), ProcessRef>,
    bytes: usize,
    events: Events,
}

impl OpenBatch {
    fn new(start: ClockPair) -> Self {
        let position = Position { epoch: 0, lane: Lane::Bulk, seq: 0 };
        Self {
            batch: Batch::empty(position, Clock::default()),
            start,
            strings: StringTableBuilder::default(),
            string_count: 0,
            processes: Table::default(),
            bytes: RECORD_BYTES,
            events: Events::default(),
        }
    }

    /// Returns whether an observation fits, counted as if none of its strings were here yet.
    fn has_room(&self, observation: &Observation) -> bool {
        let named = observation.lineage.iter().chain(&observation.target);
        let new = named.filter(|p| !self.processes.contains_key(&image(p)));
        let mut processes = 0;
        let mut bytes = RECORD_BYTES;
        let mut strings = 0;
        for process in new {
            processes += 1;
            strings += texts(process).len();
            bytes += PROCESS_BYTES;
            bytes += texts(process).iter().map(|t| t.len() + STRING_BYTES).sum::<usize>();
        }
        observation.record.each_text(|text| {
            strings += 1;
            bytes += text.len() + STRING_BYTES;
        });
        self.fits(1, processes, strings, bytes)
    }

    fn fits(&self, records: usize, processes: usize, strings: usize, bytes: usize) -> bool {
        self.batch.record_count() + records <= limits::RECORDS_MAX
            && self.batch.processes.len() + processes <= limits::PROCESSES_MAX
            && self.string_count + strings <= limits::STRINGS_MAX
            && self.bytes + bytes <= BODY_BUDGET
    }

    fn add(&mut self, observation: &Observation) {
        let process = self.lineage(&observation.lineage);
        let target = self.lineage(&observation.target);
        self.bytes += RECORD_BYTES;
        self.events.count(observation.signal, observation.events);
        /// Puts a copy of a record that names its process into its column.
        macro_rules! push {
            ($column:ident, $record:expr) => {{
                let mut record = $record;
                record.process = process;
                self.batch.$column.push(record);
            }};
        }
        match &observation.record {
            Record::Exec(record) => push!(execs, record.clone()),
            Record::Exit(record) => push!(exits, record.clone()),
            Record::Flow(record) => push!(flows, record.clone()),
            Record::Connection(record) => push!(connections, record.clone()),
            Record::Syscalls(record) => push!(syscalls, record.clone()),
            Record::Activity(record) => push!(activities, record.clone()),
            Record::Use(record) => push!(uses, record.clone()),
            Record::Uring(record) => push!(urings, record.clone()),
            Record::Sweep(record) => push!(sweeps, record.map_texts(|text| self.text(text))),
            Record::Dns(record) => push!(dns, record.map_texts(|text| self.text(text))),
            Record::Tls(record) => push!(tls, record.map_texts(|text| self.text(text))),
            Record::File(record) => push!(files, record.map_texts(|text| self.text(text))),
            Record::Login(record) => push!(logins, record.map_texts(|text| self.text(text))),
            Record::Scan(record) => push!(scans, record.map_texts(|text| self.text(text))),
            Record::Memory(record) => {
                let mut record = record.map_texts(|text| self.text(text));
                record.target = target;
                push!(memory, record);
            }
            Record::Privilege(record) => {
                let mut record = record.map_texts(|text| self.text(text));
                record.target = target;
                push!(privileges, record);
            }
            Record::Inventory(record) => {
                let record = record.map_texts(|text| self.text(text));
                self.batch.inventory.push(record);
            }
        }
    }

    /// Adds a process and its ancestors, the eldest first, and returns the process's place.
    fn lineage(&mut self, lineage: &[Rc<Process>]) -> ProcessRef {
        let mut place = ProcessRef::default();
        for process in lineage.iter().rev() {
            place = match self.processes.get(&image(process)) {
                Some(&known) => known,
                None => self.process(process, place),
            };
        }
        place
    }

    fn process(&mut self, process: &Process, parent: ProcessRef) -> ProcessRef {
        let [exe, comm, args, user, cgroup, container, pod, sha256, cwd, script, env, tty] =
            texts(process).map(|text| self.string(text));
        let [pid_namespace, mount_namespace, network_namespace, user_namespace] =
            process.namespaces;
        self.bytes += PROCESS_BYTES;
        self.batch.processes.push(wire::record::Process {
            pid: process.key.pid,
            start_ns: self.start.unix(process.key.start_ns()),
            parent,
            exe,
            comm,
            args,
            uid: process.uid,
            euid: process.euid,
            gid: process.gid,
            login_uid: process.login_uid,
            session: process.session,
            capabilities: process.capabilities,
            exe_inode: process.exe_inode,
            exe_dev: process.exe_dev,
            namespace_pid: process.namespace_pid,
            pid_namespace,
            mount_namespace,
            network_namespace,
            user_namespace,
            user,
            cgroup,
            container,
            pod,
            sha256,
            cwd,
            script,
            env,
            tty,
            flags: process.flags,
        });
        let place = ProcessRef(self.batch.processes.len() as u32);
        self.processes.insert(image(process), place);
        place
    }

    fn add_coverage(&mut self, text: &CoverageText) {
        let mut coverage = text.figures.clone();
        for [name, attached, reason] in text.hooks.iter().take(limits::HOOKS_MAX) {
            coverage.hooks.push(Hook {
                name: self.string(name.as_bytes()),
                attached: self.string(attached.as_bytes()),
                reason: self.string(reason.as_bytes()),
            });
        }
        for (signal, outcome, count) in text.ledger.iter().take(limits::LEDGER_MAX) {
            coverage.ledger.push(LedgerLine {
                signal: self.string(signal.as_bytes()),
                outcome: self.string(outcome.as_bytes()),
                count: *count,
            });
        }
        for (name, [used, capacity, bytes]) in text.maps.iter().take(limits::MAPS_MAX) {
            coverage.maps.push(MapFill {
                name: self.string(name.as_bytes()),
                used: *used,
                capacity: *capacity,
                bytes: *bytes,
            });
        }
        let lines = coverage.hooks.len() + coverage.ledger.len() + coverage.maps.len();
        self.bytes += RECORD_BYTES + LINE_BYTES * lines;
        self.batch.coverage = Some(coverage);
    }

    fn text(&mut self, text: &Text) -> StrId {
        self.string(text)
    }

    /// Adds a string. The caller has checked that there is room, so the table is never full here;
    /// if it were, the string would be missing and the record still right.
    fn string(&mut self, bytes: &[u8]) -> StrId {
        let before = self.strings.byte_len();
        let id = self.strings.add(bytes).unwrap_or_default();
        let added = self.strings.byte_len() - before;
        if added > 0 {
            self.string_count += 1;
            self.bytes += added + STRING_BYTES;
        }
        id
    }

    fn finish(self, position: Position, clock: Clock) -> Cut {
        let mut batch = self.batch;
        batch.position = position;
        batch.clock = clock;
        batch.strings = self.strings.finish();
        Cut { batch, events: self.events }
    }
}

fn image(process: &Process) -> (Key, u32) {
    (process.key, process.image)
}

fn texts(process: &Process) -> [&[u8]; 12] {
    [
        &process.exe,
        &process.comm,
        &process.args,
        &process.user,
        &process.cgroup,
        &process.container,
        &process.pod,
        &process.sha256,
        &process.cwd,
        &process.script,
        &process.env,
        &process.tty,
    ]
}

fn coverage_bytes(coverage: &CoverageText) -> usize {
    let hooks = coverage.hooks.iter().flatten().map(|text| text.len() + STRING_BYTES + LINE_BYTES);
    let lines = coverage.ledger.iter().map(|(signal, outcome, _)| signal.len() + outcome.len());
    let maps = coverage.maps.iter().map(|(name, _)| name.len() + STRING_BYTES + 2 * LINE_BYTES);
    RECORD_BYTES
        + hooks.sum::<usize>()
        + maps.sum::<usize>()
        + lines.map(|n| n + 2 * STRING_BYTES + LINE_BYTES).sum::<usize>()
}

#[cfg(test)]
mod tests;
