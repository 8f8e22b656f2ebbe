//! Which process is which: pid and start time → image, user, cgroup, parent. Pure; `procfs` reads
//! what a table is seeded with.

use std::collections::VecDeque;
use std::rc::Rc;

use wire::limits::LINEAGE_MAX;
use wire::record::process_flag;

use crate::hash::{FileId, Known};
use crate::table::Table;

/// Processes remembered, live and ended. A host with more loses the lineage of its oldest.
const PROCESSES_MAX: usize = 16_384;
/// Bytes of the table, texts and all: a third of what the sensor may have.
const BYTES_MAX: usize = 11 * 1024 * 1024;
/// What a process takes besides itself and its texts: its places in the table and its queues, and
/// what an allocator adds to some eight blocks.
const OVERHEAD: usize = 256;
/// How long an ended process is kept, for flows that are drained and children that act after its
/// end.
const ENDED_KEPT_NS: u64 = 300_000_000_000;
/// `/proc` tells start times in ticks of 10 ms (`USER_HZ` is 100 on every architecture that we
/// build for), so ids are cut to that: a process has one name, however it was first seen.
const START_GRAIN_NS: u64 = 10_000_000;

/// Names a process for good: pids are used again, but not within one grain of start time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Process id in the root namespace.
    pub pid: u32,
    /// Start, nanoseconds since boot, cut to 10 ms.
    start_ns: u64,
}

impl Key {
    /// Builds the key of a process that started at `start_ns` since boot.
    pub fn new(pid: u32, start_ns: u64) -> Self {
        Self { pid, start_ns: start_ns - start_ns % START_GRAIN_NS }
    }

    /// Returns the start, nanoseconds since boot.
    pub fn start_ns(self) -> u64 {
        self.start_ns
    }
}

/// One image of a process. A new execution makes a new one with the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The process's name for good.
    pub key: Key,
    /// Who created it.
    pub parent: Option<Key>,
    /// Executions seen of this process, and hashes that came late; tells its images apart.
    pub image: u32,
    /// Path of the executable.
    pub exe: Rc<[u8]>,
    /// Task name.
    pub comm: Rc<[u8]>,
    /// Arguments, each ended by NUL.
    pub args: Rc<[u8]>,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// Name of `uid`, empty when not known.
    pub user: Rc<[u8]>,
    /// cgroup v2 path.
    pub cgroup: Rc<[u8]>,
    /// Container id, empty outside containers.
    pub container: Rc<[u8]>,
    /// Kubernetes namespace and pod, or the pod's uid; empty outside pods.
    pub pod: Rc<[u8]>,
    /// SHA-256 of the executable, empty when not known.
    pub sha256: Rc<[u8]>,
    /// Working directory when it was executed.
    pub cwd: Rc<[u8]>,
    /// The script that the executable interprets.
    pub script: Rc<[u8]>,
    /// Watched environment variables, each ended by NUL.
    pub env: Rc<[u8]>,
    /// Terminal, empty without one.
    pub tty: Rc<[u8]>,
    /// `loginuid` plus one, 0 when nobody logged in.
    pub login_uid: u32,
    /// Audit session plus one, 0 without one.
    pub session: u32,
    /// Effective capabilities.
    pub capabilities: u64,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system.
    pub exe_dev: u32,
    /// Process id inside its namespace, 0 when it is the same or not known.
    pub namespace_pid: u32,
    /// Inode numbers of its PID, mount, network and user namespaces, 0 when not known.
    pub namespaces: [u32; 4],
    /// Bits of `wire::record::process_flag`.
    pub flags: u32,
}

impl Process {
    /// Sets the executable's hash, or says why there is none.
    pub fn set_hash(&mut self, known: &Known) {
        self.flags &= !(process_flag::HASH_PENDING | process_flag::HASH_MISSING);
        match known {
            Known::Hash(hash) => self.sha256 = hash.clone(),
            Known::Pending => self.flags |= process_flag::HASH_PENDING,
            Known::Missing => self.flags |= process_flag::HASH_MISSING,
        }
    }

    fn bytes(&self) -> usize {
        // Texts that several share, such as a fork's with its parent's, are counted for each.
        let own = [&self.exe, &self.comm, &self.args, &self.cwd, &self.script, &self.env];
        size_of::<Self>() + OVERHEAD + own.iter().map(|text| text.len()).sum::<usize>()
    }
}

#[derive(Debug)]
struct Slot {
    process: Rc<Process>,
    children: u32,
    ended: bool,
}

/// How full the table is, and what it had to forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Processes in the table.
    pub processes: usize,
    /// Processes forgotten early because the table was full.
    pub evicted: u64,
}

/// The table of processes.
#[derive(Debug, Default)]
pub struct Processes {
    slots: Table<Key, Slot>,
    /// The newest process of each pid.
    current: Table<u32, Key>,
    /// Live processes, oldest first; may name ones that are gone.
    live: VecDeque<Key>,
    /// Ended processes with the time of their end, oldest first.
    ended: VecDeque<(u64, Key)>,
    bytes: usize,
    evicted: u64,
}

impl Processes {
    /// Adds a process or its new image. The image number goes on from the one before.
    pub fn insert(&mut self, mut process: Process) -> Rc<Process> {
        let key = process.key;
        if let Some(slot) = self.slots.get_mut(&key) {
            process.image = slot.process.image + 1;
            // A reparented process keeps its creator: that is who caused it.
            process.parent = slot.process.parent.or(process.parent);
            self.bytes = self.bytes - slot.process.bytes() + process.bytes();
            slot.process = Rc::new(process);
            let process = slot.process.clone();
            self.make_room();
            return process;
        }
        if let Some(parent) = process.parent.and_then(|parent| self.slots.get_mut(&parent)) {
            parent.children += 1;
        }
        self.bytes += process.bytes();
        let process = Rc::new(process);
        self.slots.insert(key, Slot { process: process.clone(), children: 0, ended: false });
        self.current.insert(key.pid, key);
        self.live.push_back(key);
        self.make_room();
        process
    }

    /// Adds a child that was just created: its parent's image under its own key.
    pub fn fork(&mut self, child: Key, parent: Key) -> Option<Rc<Process>> {
        let image = self.slots.get(&parent)?.process.clone();
        let process = Process { key: child, parent: Some(parent), image: 0, ..(*image).clone() };
        Some(self.insert(process))
    }

    /// Adds the hash of the file that a process was executed from, unless it has executed another
    /// one since. That makes a new image, so that it is told with the next record.
    pub fn hashed(&mut self, key: Key, file: &FileId, known: &Known) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if (slot.process.exe_dev, slot.process.exe_inode) == (file.dev, file.inode) {
            let process = Rc::make_mut(&mut slot.process);
            process.image += 1;
            process.set_hash(known);
        }
    }

    /// Marks a process as ended at `now_ns`; it is kept for a while.
    pub fn end(&mut self, key: Key, now_ns: u64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if !std::mem::replace(&mut slot.ended, true) {
            self.ended.push_back((now_ns, key));
        }
    }

    /// Returns the newest image of a process.
    pub fn find(&self, key: Key) -> Option<&Rc<Process>> {
        self.slots.get(&key).map(|slot| &slot.process)
    }

    /// Returns the newest process that has or had this pid.
    pub fn by_pid(&self, pid: u32) -> Option<&Rc<Process>> {
        self.find(*self.current.get(&pid)?)
    }

    /// Returns a process and its ancestors, nearest first, cut at the root side.
    pub fn lineage(&self, process: &Rc<Process>) -> Vec<Rc<Process>> {
        let mut lineage = vec![process.clone()];
        while lineage.len() <= LINEAGE_MAX {
            let parent = lineage.last().and_then(|p| self.find(p.parent?));
            // Keys of hostile records could form a ring; a process is listed once.
            match parent {
                Some(parent) if lineage.iter().all(|p| p.key != parent.key) => {
                    lineage.push(parent.clone());
                }
                _ => break,
            }
        }
        lineage
    }

    /// Forgets processes that ended long ago. One whose children are still here stays, since it
    /// is their lineage.
    pub fn expire(&mut self, now_ns: u64) {
        for _ in 0..self.ended.len() {
            let Some(&(end_ns, key)) = self.ended.front() else { break };
            if now_ns.saturating_sub(end_ns) < ENDED_KEPT_NS {
                break;
            }
            self.ended.pop_front();
            match self.slots.get(&key) {
                Some(slot) if slot.children > 0 => self.ended.push_back((now_ns, key)),
                _ => self.remove(key),
            }
        }
        // Names of processes that are gone pile up behind one that lives long.
        if self.live.len() > 2 * self.slots.len() + 64 {
            self.live.retain(|key| self.slots.get(key).is_some_and(|slot| !slot.ended));
        }
    }

    /// Returns how full the table is.
    pub fn stats(&self) -> TableStats {
        TableStats { processes: self.slots.len(), evicted: self.evicted }
    }

    /// Makes room by forgetting the oldest ended process, then the oldest live one.
    fn make_room(&mut self) {
        while self.slots.len() > PROCESSES_MAX || self.bytes > BYTES_MAX {
            let oldest = self.ended.pop_front().map(|(_, key)| key);
            let Some(key) = oldest.or_else(|| self.live.pop_front()) else { break };
            if self.slots.contains_key(&key) {
                self.evicted += 1;
                self.remove(key);
            }
        }
    }

    fn remove(&mut self, key: Key) {
        let Some(slot) = self.slots.remove(&key) else { return };
        self.bytes -= slot.process.bytes();
        if self.current.get(&key.pid) == Some(&key) {
            self.current.remove(&key.pid);
        }
        if let Some(parent) = slot.process.parent.and_then(|parent| self.slots.get_mut(&parent)) {
            parent.children = parent.children.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn process(pid: u32, start_ns: u64, parent: Option<Key>, exe: &str) -> Process {
        let key = Key::new(pid, start_ns);
        Process { key, parent, exe: exe.as_bytes().into(), ..Process::default() }
    }

    fn names(lineage: &[Rc<Process>]) -> Vec<String> {
        lineage.iter().map(|p| String::from_utf8_lossy(&p.exe).into_owned()).collect()
    }

    #[test]
    fn a_seeded_process_and_its_record_are_the_same() {
        assert_eq!(Key::new(7, 1_230_000_000), Key::new(7, 1_234_567_890));
        assert_ne!(Key::new(7, 1_230_000_000), Key::new(7, 1_240_000_000));
    }

    #[test]
    fn an_ended_parent_stays_in_the_lineage_while_its_child_lives() {
        let mut table = Processes::default();
        let parent = table.insert(process(10, SECOND, None, "nginx")).key;
        let child = Key::new(11, 2 * SECOND);
        table.fork(child, parent).unwrap();
        table.insert(process(11, 2 * SECOND, Some(parent), "sh"));
        table.end(parent, 3 * SECOND);
        table.expire(3 * SECOND + 2 * ENDED_KEPT_NS);
        let sh = table.find(child).unwrap().clone();
        assert_eq!(names(&table.lineage(&sh)), ["sh", "nginx"]);
        assert_eq!(sh.image, 1);
        table.end(child, 4 * SECOND);
        table.expire(4 * SECOND + 4 * ENDED_KEPT_NS);
        table.expire(4 * SECOND + 8 * ENDED_KEPT_NS);
        assert_eq!(table.stats(), TableStats { processes: 0, evicted: 0 });
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut table = Processes::default();
        let old = table.insert(process(10, SECOND, None, "old")).key;
        table.end(old, 2 * SECOND);
        let new = table.insert(process(10, 3 * SECOND, None, "new")).key;
        assert_eq!(&table.by_pid(10).unwrap().exe[..], b"new");
        assert_eq!(&table.find(old).unwrap().exe[..], b"old");
        table.expire(2 * SECOND + ENDED_KEPT_NS);
        assert!(table.find(old).is_none());
        assert_eq!(table.by_pid(10).unwrap().key, new);
    }

    #[test]
    fn a_full_table_forgets_ended_processes_first_and_counts() {
        let mut table = Processes::default();
        for pid in 0..PROCESSES_MAX as u32 {
            table.insert(process(pid, 0, None, "x"));
        }
        table.end(Key::new(9, 0), SECOND);
        table.insert(process(900_000, 0, None, "y"));
        assert!(table.find(Key::new(9, 0)).is_none() && table.find(Key::new(0, 0)).is_some());
        table.insert(process(900_001, 0, None, "z"));
        assert!(table.find(Key::new(0, 0)).is_none());
        assert_eq!(table.stats(), TableStats { processes: PROCESSES_MAX, evicted: 2 });
    }

    #[test]
    fn a_hash_that_comes_late_belongs_to_its_own_image() {
        let mut table = Processes::default();
        let file = FileId { dev: 1, inode: 7, ..FileId::default() };
        let mut first = process(1, SECOND, None, "first");
        (first.exe_dev, first.exe_inode) = (1, 7);
        first.set_hash(&Known::Pending);
        let key = table.insert(first).key;
        assert_eq!(table.find(key).unwrap().flags, process_flag::HASH_PENDING);
        table.hashed(key, &file, &Known::Hash(b"h"[..].into()));
        let found = table.find(key).unwrap();
        assert_eq!((&found.sha256[..], found.flags, found.image), (&b"h"[..], 0, 1));
        table.insert(process(1, SECOND, None, "second"));
        table.hashed(key, &file, &Known::Hash(b"h"[..].into()));
        assert_eq!(&table.find(key).unwrap().sha256[..], b"");
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let mut table = Processes::default();
        let a = table.insert(process(1, 0, Some(Key::new(2, 0)), "a"));
        table.insert(process(2, 0, Some(a.key), "b"));
        assert_eq!(names(&table.lineage(&a)), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn counts_stay_true(steps in prop::collection::vec((0u8..4, 0u32..40, 0u32..40), 0..400)) {
            let mut table = Processes::default();
            for (at, (step, pid, other)) in steps.into_iter().enumerate() {
                let (key, other) = (Key::new(pid, 0), Key::new(other, 0));
                match step {
                    0 => { table.insert(process(pid, 0, Some(other), "some-image")); }
                    1 => { table.fork(key, other); }
                    2 => table.end(key, at as u64 * SECOND),
                    _ => table.expire(at as u64 * SECOND * 10),
                }
            }
            let bytes: usize = table.slots.values().map(|s| s.process.bytes()).sum();
            prop_assert_eq!(bytes, table.bytes);
            for slot in table.slots.values() {
                let ended = table.ended.iter().filter(|(_, k)| *k == slot.process.key).count();
                prop_assert_eq!(ended, usize::from(slot.ended));
            }
        }
    }
}
