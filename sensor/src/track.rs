//! Follows processes and sockets through the kernel's records, and says of each record who did it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use wire::limits::LINEAGE_MAX;
use wire::record::{flow_detail as detail, process_flag, tunnel};

use crate::cgroup::{Cgroup, Cgroups};
use crate::clock::ClockPair;
use crate::convert::sweep::SweepCount;
use crate::convert::{self, Event, Executed, Head, SocketChange, What};
use crate::hash::{self, FileId, Hashes, Known};
use crate::health::HookText;
use crate::ledger::Signal;
use crate::observation::{Observation, Record, Text};
use crate::owner::{Owner, Owners, Tuple};
use crate::payload::Payload;
use crate::pod;
use crate::privileged::{self, ProcLink};
use crate::process::{Key, Process, Processes};
use crate::procfs;
use crate::scan::{Done, Outcome, Scans};
use crate::sockets::{self, OpenSocket};
use crate::user::Users;

mod acts;
mod network;

/// The host's user names.
const PASSWD: &str = "/etc/passwd";

/// Processes of one file that are told of again when its hash comes late.
const UNHASHED_MAX: usize = 256;

/// What the sensor knows of the host's processes and sockets.
#[derive(Debug)]
pub struct Tracker {
    processes: Processes,
    owners: Owners,
    cgroups: Cgroups,
    users: Users,
    hashes: Hashes,
    scans: Option<Scans>,
    /// Processes whose file is being hashed.
    unhashed: HashMap<FileId, Vec<Key>>,
    /// Names of the environment variables that are told.
    variables: Vec<String>,
    mount_namespace: Option<u64>,
    /// Only tasks below this cgroup are looked up in `/proc`; empty for all.
    scope: Vec<u8>,
    /// Sockets that listened before the programs were attached, and are still to be reported.
    listening: Vec<OpenSocket>,
}

impl Tracker {
    /// Starts with empty tables. `scope` is the cgroup v2 path of the sensor's scope, empty for
    /// all.
    pub fn new(scope: Vec<u8>) -> Self {
        Self {
            processes: Processes::default(),
            owners: Owners::default(),
            cgroups: Cgroups::of_host(),
            users: Users::new(PASSWD),
            hashes: Hashes::default(),
            scans: None,
            unhashed: HashMap::new(),
            variables: Vec::new(),
            mount_namespace: privileged::namespace(std::process::id(), ProcLink::MountNamespace),
            scope,
            listening: Vec::new(),
        }
    }

    /// Takes names of users and pods from the files of a host that are below a folder.
    pub fn take_names_below(&mut self, root: &Path) {
        let below = |path: &str| root.join(path.trim_start_matches('/'));
        self.users = Users::new(below(PASSWD));
        self.cgroups.take_pods_from(below(pod::FOLDER));
    }

    /// Starts to hash executables, and tells these variables of their environments.
    pub fn tell_more(&mut self, variables: &[String]) {
        self.hashes = Hashes::start();
        self.variables = variables.to_vec();
    }

    /// Scans what is executed or written from now on.
    pub fn scan_with(&mut self, scans: Scans) {
        self.scans = Some(scans);
    }

    /// Takes in what was scanned since: what there is to report of each file, and what else became
    /// of one. `finish` gives up what still waits.
    pub fn take_scans(&mut self, finish: bool, now_ns: u64) -> Vec<(Vec<Observation>, Outcome)> {
        let Some(scans) = &mut self.scans else { return Vec::new() };
        let done = if finish { scans.finish() } else { scans.take_in() };
        done.into_iter().map(|done| (self.scanned(&done, now_ns), done.outcome)).collect()
    }

    fn scanned(&mut self, done: &Done, now_ns: u64) -> Vec<Observation> {
        let Outcome::Found(found) = &done.outcome else { return Vec::new() };
        let lineage = self.lineage_of(done.candidate.key, now_ns);
        let records = found.records(&done.candidate).into_iter().enumerate();
        let observation = |(place, record)| Observation {
            lineage: lineage.clone(),
            target: Vec::new(),
            signal: Signal::Scan,
            // The file is one event, whose first record stands for it.
            events: u64::from(place == 0),
            record: Record::Scan(record),
        };
        records.map(observation).collect()
    }

    /// Returns what became of the files that were to be scanned.
    pub fn scans_text(&self) -> Option<HookText> {
        self.scans.as_ref().and_then(Scans::text)
    }

    /// Asks for the hash of what was executed, and for a scan, before the execution itself is taken
    /// in.
    pub fn ahead(&mut self, event: &Event) {
        if let What::Exec(executed) = &event.what {
            self.scans.iter_mut().for_each(|scans| scans.executed(executed));
            self.hashes.ask(executed.file, executed.process.key.pid, &executed.process.exe);
        }
    }

    /// Returns whether an event is better taken in a moment later, when its hash is there.
    pub fn is_awaited(&self, event: &Event) -> bool {
        match &event.what {
            What::Exec(executed) => self.hashes.of(&executed.file) == Known::Pending,
            _ => false,
        }
    }

    /// Takes in what was hashed since, also for processes that were told of without it.
    pub fn take_hashes(&mut self) {
        for file in self.hashes.take_in() {
            for key in self.unhashed.remove(&file).unwrap_or_default() {
                self.processes.hashed(key, &file, &self.hashes.of(&file));
            }
        }
    }

    /// Returns what became of the files that were to be hashed.
    pub fn hash_stats(&self) -> hash::Stats {
        self.hashes.stats()
    }

    /// Fills both tables from `/proc`. Called after the programs are attached, so that nothing
    /// falls between. `netns` is the network namespace whose sockets matter, the sensor's own by
    /// default.
    pub fn seed(&mut self, netns: Option<&Path>, now_ns: u64) {
        let mut all = procfs::all();
        all.sort_by_key(|seen| seen.start_ns);
        let keys: HashMap<u32, Key> =
            all.iter().map(|seen| (seen.pid, Key::new(seen.pid, seen.start_ns))).collect();
        for seen in &all {
            self.take(seen, keys.get(&seen.parent_pid).copied(), now_ns);
        }
        let inside: Vec<u32> = all.iter().filter(|s| self.in_scope(s)).map(|s| s.pid).collect();
        self.seed_sockets(sockets::open_sockets(netns, &inside), &keys, now_ns);
    }

    /// Takes an event in. Returns what there is to report: a fork is only remembered.
    pub fn event(&mut self, event: Event) -> Option<Observation> {
        let Event { head, signal, what } = event;
        let mut target = Vec::new();
        let (process, record) = match what {
            What::Exec(executed) => {
                let Executed { process, exec, file } = *executed;
                (Some(self.executed(process, file, head)), Record::Exec(exec))
            }
            What::Fork { child, parent } => {
                self.forked(child, parent, head);
                return None;
            }
            What::Exit(exit) => {
                let process = self.actor(head);
                if let Some(key) = head.process {
                    self.processes.end(key, head.time_ns);
                }
                (process, Record::Exit(exit))
            }
            What::Socket(changed) => {
                let owner = self.socket_changed(&changed, head);
                let process = self.actor(head);
                if changed.change == SocketChange::Used {
                    return None;
                }
                let process = process.or_else(|| self.processes.find(owner?).cloned());
                (process, Record::Connection(changed.connection))
            }
            What::Payload(payload) => return Some(self.payload(*payload, 1)),
            What::Record(mut record, done_to) => {
                target = done_to.map(|key| self.lineage_of(key, head.time_ns)).unwrap_or_default();
                let process = self.actor(head);
                if !self.learn(&mut record, head) {
                    return None;
                }
                if let (Some(scans), Record::File(file)) = (&mut self.scans, &*record) {
                    let mounts = process.as_ref().map_or(0, |process| process.namespaces[1]);
                    scans.touched(file, head.process, mounts);
                }
                (process, *record)
            }
        };
        Some(Observation { target, ..self.observed(process, signal, record) })
    }

    /// Gives a flow its owner and direction.
    pub fn flow(&mut self, flow: &convert::FlowCount, clock: ClockPair) -> Observation {
        let (tuple, guess, mut record) = convert::flow(&flow.0, &flow.1, clock);
        // A coarser key is no connection, and one inside a tunnel is none of the host's.
        let owner = match (flow.0.detail, flow.0.tunnel) {
            (detail::EXACT, tunnel::NONE) => self.owners.of_flow(tuple, guess, clock.boot_ns),
            _ => Owner::default(),
        };
        record.direction = owner.direction;
        let events = record.ingress.packets + record.egress.packets;
        let process = owner.process.and_then(|key| self.processes.find(key)).cloned();
        Observation { events, ..self.observed(process, Signal::Flow, Record::Flow(record)) }
    }

    /// Reports what one source probed.
    pub fn sweep(&mut self, sweep: &SweepCount, clock: ClockPair) -> Observation {
        let observed = self.observed(None, Signal::Sweep, convert::sweep::sweep(sweep, clock));
        Observation { events: sweep.1.packets, ..observed }
    }

    /// Returns whether a socket's process is known.
    pub fn owns(&self, tuple: &Tuple) -> bool {
        self.owners.of_socket(tuple).is_some()
    }

    /// Gives a message its process. It stands for `events` messages.
    pub fn payload(&mut self, payload: Payload, events: u64) -> Observation {
        let key = self.owners.of_socket(&payload.tuple);
        let process = key.and_then(|key| self.processes.find(key)).cloned();
        Observation { events, ..self.observed(process, payload.signal(), payload.record) }
    }

    /// Gives counted system calls their process.
    pub fn syscalls(
        &mut self,
        calls: &convert::SyscallCount,
        clock: ClockPair,
        window_ns: u64,
    ) -> Observation {
        let (pid, record) = convert::syscalls(calls, clock.unix_ns, window_ns);
        let process = self.processes.by_pid(pid).cloned();
        let record = Record::Syscalls(record);
        Observation { events: calls.1.count, ..self.observed(process, Signal::Syscall, record) }
    }

    /// Gives counted acts their process.
    pub fn activity(
        &mut self,
        counted: &convert::ActivityCount,
        clock: ClockPair,
        window_ns: u64,
    ) -> Observation {
        let (key, acts, record) =
            convert::file::activity(&counted.0, &counted.1, clock.unix_ns, window_ns);
        self.look_up(key, clock.boot_ns, LINEAGE_MAX);
        let process = self.processes.find(key).cloned();
        let record = Record::Activity(record);
        Observation { events: acts, ..self.observed(process, Signal::Activity, record) }
    }

    /// Forgets what ended long ago.
    pub fn expire(&mut self, now_ns: u64) {
        self.processes.expire(now_ns);
        self.owners.expire(now_ns);
    }

    /// Returns how many processes and connections had to be forgotten early.
    pub fn forgotten(&self) -> (u64, u64) {
        (self.processes.stats().evicted, self.owners.overflow())
    }

    fn observed(
        &self,
        process: Option<Rc<Process>>,
        signal: Signal,
        record: Record,
    ) -> Observation {
        let lineage = process.map(|process| self.processes.lineage(&process)).unwrap_or_default();
        Observation { lineage, target: Vec::new(), signal, events: 1, record }
    }

    /// Returns the newest process that has or had a pid, and its ancestors, unless it started after
    /// a moment since boot: then it is another one.
    pub fn lineage_of_pid(&self, pid: u32, before_ns: u64) -> Vec<Rc<Process>> {
        let process = self.processes.by_pid(pid).filter(|p| p.key.start_ns() <= before_ns);
        process.map(|process| self.processes.lineage(process)).unwrap_or_default()
    }

    /// Returns a process that something was done to, and its ancestors.
    fn lineage_of(&mut self, key: Key, now_ns: u64) -> Vec<Rc<Process>> {
        self.look_up(key, now_ns, LINEAGE_MAX);
        let process = self.processes.find(key).cloned();
        process.map(|process| self.processes.lineage(&process)).unwrap_or_default()
    }

    fn executed(&mut self, mut process: Process, file: FileId, head: Head) -> Rc<Process> {
        if let Some(parent) = process.parent {
            self.look_up(parent, head.time_ns, LINEAGE_MAX);
        }
        process.env = self.told_variables(&process.env);
        let known = self.hashes.of(&file);
        process.set_hash(&known);
        if known == Known::Pending {
            self.unhashed.entry(file).or_default();
            self.await_hash_of(&process);
        }
        let mut cgroup = self.cgroups.of_task(head.cgroup_id, process.key.pid, head.time_ns);
        if cgroup.container.is_empty() && self.is_elsewhere(&process) {
            self.cgroups.add_legacy(&mut cgroup, process.key.pid, head.time_ns);
        }
        self.complete(&mut process, cgroup, head.time_ns);
        self.processes.insert(process)
    }

    /// Remembers a process that has to be told of again once its file is hashed. Of a storm of
    /// them the first ones are.
    fn await_hash_of(&mut self, process: &Process) {
        if process.flags & process_flag::HASH_PENDING == 0 {
            return;
        }
        let image = (process.exe_dev, process.exe_inode);
        let waiting = self.unhashed.iter_mut().find(|(file, _)| (file.dev, file.inode) == image);
        if let Some((_, keys)) = waiting
            && keys.len() < UNHASHED_MAX
        {
            keys.push(process.key);
        }
    }

    /// Returns whether a process sees other mounts than the sensor, on a host where containers may
    /// be in hierarchies that its cgroup id does not tell of.
    fn is_elsewhere(&self, process: &Process) -> bool {
        self.cgroups.has_legacy()
            && self.mount_namespace.is_some_and(|own| own != u64::from(process.namespaces[1]))
    }

    /// The kernel compares only the begin of names.
    fn told_variables(&self, env: &Text) -> Text {
        let told = |variable: &&[u8]| {
            let name = variable.split(|&byte| byte == b'=').next().unwrap_or_default();
            self.variables.iter().any(|told| told.as_bytes() == name)
        };
        if env.is_empty() {
            return env.clone();
        }
        let kept: Vec<&[u8]> = env.split_inclusive(|&byte| byte == 0).filter(told).collect();
        kept.concat().into()
    }

    fn forked(&mut self, child: Key, parent: Key, head: Head) {
        // Seeding may have met the child first, and then knows more than its parent's image.
        if self.processes.find(child).is_some() {
            return;
        }
        self.look_up(parent, head.time_ns, LINEAGE_MAX);
        let Some(parent) = self.processes.find(parent) else {
            self.actor(head);
            return;
        };
        let mut process = (**parent).clone();
        (process.parent, process.key, process.image) = (Some(process.key), child, 0);
        self.await_hash_of(&process);
        let mut cgroup = self.cgroups.of_task(head.cgroup_id, child.pid, head.time_ns);
        if cgroup.container.is_empty() && self.is_elsewhere(&process) {
            (cgroup.container, cgroup.pod) = (process.container.clone(), process.pod.clone());
        }
        self.complete(&mut process, cgroup, head.time_ns);
        self.processes.insert(process);
    }

    /// Returns the process of a record. One whose beginning was missed is looked up; when it is
    /// gone already, what the record says of it is all there is.
    fn actor(&mut self, head: Head) -> Option<Rc<Process>> {
        let key = head.process?;
        self.look_up(key, head.time_ns, LINEAGE_MAX);
        if let Some(known) = self.processes.find(key).cloned() {
            return Some(self.moved(known, head));
        }
        let flags = process_flag::EXE_UNKNOWN | process_flag::ARGS_UNKNOWN;
        let mut process =
            Process { key, uid: head.uid, euid: head.uid, flags, ..Process::default() };
        let cgroup = self.cgroups.of_task(head.cgroup_id, key.pid, head.time_ns);
        self.complete(&mut process, cgroup, head.time_ns);
        Some(self.processes.insert(process))
    }

    /// Returns a known process as it is now: it may have been moved to another cgroup since it was
    /// told of.
    fn moved(&mut self, known: Rc<Process>, head: Head) -> Rc<Process> {
        let cgroup = self.cgroups.of_task(head.cgroup_id, known.key.pid, head.time_ns);
        if cgroup.path.is_empty() || cgroup.path == known.cgroup {
            return known;
        }
        let mut process = (*known).clone();
        let kept = (process.container.clone(), process.pod.clone());
        let is_legacy = cgroup.container.is_empty() && self.is_elsewhere(&process);
        self.complete(&mut process, cgroup, head.time_ns);
        if is_legacy {
            (process.container, process.pod) = kept;
        }
        self.processes.insert(process)
    }

    /// Takes a process that the table lacks, and its ancestors, from `/proc`.
    fn look_up(&mut self, key: Key, now_ns: u64, depth: usize) {
        if self.processes.find(key).is_some() || depth == 0 {
            return;
        }
        let Some(seen) = procfs::one(key.pid) else { return };
        // The pid may be another process's by now.
        if Key::new(seen.pid, seen.start_ns) != key || !self.in_scope(&seen) {
            return;
        }
        let parent = procfs::one(seen.parent_pid).map(|p| Key::new(p.pid, p.start_ns));
        if let Some(parent) = parent {
            self.look_up(parent, now_ns, depth - 1);
        }
        self.take(&seen, parent, now_ns);
    }

    fn take(&mut self, seen: &procfs::Seen, parent: Option<Key>, now_ns: u64) {
        if !self.in_scope(seen) {
            return;
        }
        let mut process = Process {
            key: Key::new(seen.pid, seen.start_ns),
            parent,
            exe: seen.exe.as_slice().into(),
            comm: seen.comm.as_slice().into(),
            args: seen.args.as_slice().into(),
            uid: seen.uid,
            euid: seen.euid,
            gid: seen.gid,
            flags: seen.flags,
            ..Process::default()
        };
        let cgroup = self.cgroups.of_path(&seen.cgroup, now_ns);
        self.complete(&mut process, cgroup, now_ns);
        self.processes.insert(process);
    }

    /// Adds what neither the kernel's record nor `/proc` says outright. The host's user names mean
    /// nothing inside a container, so a process there has none.
    fn complete(&mut self, process: &mut Process, cgroup: Cgroup, now_ns: u64) {
        process.user = match cgroup.container.is_empty() {
            true => self.users.name(process.uid, now_ns),
            false => Rc::default(),
        };
        (process.cgroup, process.container) = (cgroup.path, cgroup.container);
        process.pod = cgroup.pod;
    }

    /// A scoped sensor knows nothing of tasks outside, not even the parents of its own.
    fn in_scope(&self, seen: &procfs::Seen) -> bool {
        let rest = seen.cgroup.strip_prefix(self.scope.as_slice());
        rest.is_some_and(|rest| self.scope.is_empty() || rest.is_empty() || rest[0] == b'/')
    }
}

#[cfg(test)]
mod tests;
