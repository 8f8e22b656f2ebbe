//! The thread that reads executables and hashes them.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use super::{FileId, HASH_LEN};
use crate::clock::ClockPair;
use crate::pace::Pace;
use crate::privileged;

/// Larger files are not hashed: what is executed and larger carries its data along, such as
/// browsers' snapshots, and takes half a second of a core.
pub const SIZE_MAX: u64 = 256 * 1024 * 1024;
/// Bytes hashed per second over time: about 5 % of a core with the processor's own instructions.
const BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;
/// Bytes that may be hashed at once after a rest: all that a log-in or a small build executes.
const BURST_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes read at once.
const CHUNK: usize = 128 * 1024;
/// Two changes within one tick of the kernel's clock give a file the same time (10 ms at most). A
/// younger file is left to ripen, so that no later change can hide behind its time.
const GRAIN_NS: u64 = 20_000_000;
/// Lowest priority that is not idle, as nice(1) has it.
pub(crate) const NICE: i32 = 19;

/// A file to hash.
#[derive(Clone, Debug)]
pub struct Job {
    /// Which content.
    pub file: FileId,
    /// A process that runs it.
    pub pid: u32,
    /// Its path, for when the process is gone.
    pub path: Box<[u8]>,
}

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The hash.
    Hash([u8; HASH_LEN]),
    /// The file is longer than [`SIZE_MAX`].
    TooLarge,
    /// The file is gone, cannot be read, or is not the one that was executed any more.
    Gone,
}

/// The worker's ends; it stops when they are dropped.
#[derive(Debug)]
pub struct Worker {
    jobs: SyncSender<Job>,
    outcomes: Receiver<(FileId, Outcome)>,
}

impl Worker {
    /// Starts the thread with room for so many jobs; `None` when the system gives no thread.
    pub fn start(jobs_max: usize) -> Option<Self> {
        let (jobs, to_do) = sync_channel(jobs_max);
        let (done, outcomes) = sync_channel(jobs_max);
        let work = move || work(&to_do, &done);
        let started = thread::Builder::new().name("hash".to_owned()).spawn(work);
        match started {
            Ok(_) => Some(Self { jobs, outcomes }),
            Err(error) => {
                tracing::warn!(%error, "executables are not hashed");
                None
            }
        }
    }

    /// Hands a job over; false when too many wait.
    pub fn ask(&self, job: Job) -> bool {
        self.jobs.try_send(job).is_ok()
    }

    /// Returns something that is done.
    pub fn done(&self) -> Option<(FileId, Outcome)> {
        self.outcomes.try_recv().ok()
    }
}

fn work(jobs: &Receiver<Job>, done: &SyncSender<(FileId, Outcome)>) {
    // Without it the hashing only competes harder.
    // SAFETY: a plain system call; 0 means the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    let mut pace = Pace::new(BYTES_PER_SECOND, BURST_BYTES);
    while let Ok(job) = jobs.recv() {
        let outcome = hash(&job, &mut pace);
        if done.send((job.file, outcome)).is_err() {
            return;
        }
    }
}

fn hash(job: &Job, pace: &mut Pace) -> Outcome {
    if job.file.size > SIZE_MAX {
        return Outcome::TooLarge;
    }
    let Some(mut file) = open(job) else { return Outcome::Gone };
    let age_ns = ClockPair::now().unix_ns.saturating_sub(job.file.ctime_ns);
    if age_ns < GRAIN_NS {
        thread::sleep(Duration::from_nanos(GRAIN_NS - age_ns));
    }
    match digest(&mut file, job.file.size, pace) {
        Ok(hash) if is_still(&file, &job.file) => Outcome::Hash(hash),
        _ => Outcome::Gone,
    }
}

/// Opens what the process runs; when it is gone, what its path names now. Either must be the file
/// that was executed.
fn open(job: &Job) -> Option<File> {
    let running = privileged::open_exe(job.pid).ok().filter(|file| is_still(file, &job.file));
    running.or_else(|| {
        // A cut path does not start at the root, and names nothing.
        let path = OsStr::from_bytes(&job.path);
        let named = job.path.starts_with(b"/").then(|| File::open(path).ok()).flatten();
        named.filter(|file| is_still(file, &job.file))
    })
}

pub(crate) fn is_still(file: &File, id: &FileId) -> bool {
    file.metadata().is_ok_and(|metadata| is_same(&metadata, id))
}

/// Compares with what the kernel said at the execution. Some file systems (overlay, btrfs) show
/// programs another device than the kernel has, and then another inode number too; size and times
/// are the same everywhere.
fn is_same(metadata: &Metadata, id: &FileId) -> bool {
    let shown = FileId::shown_by(metadata);
    metadata.is_file()
        && (shown.size, shown.mtime_ns, shown.ctime_ns) == (id.size, id.mtime_ns, id.ctime_ns)
        && (shown.dev != id.dev || shown.inode == id.inode)
}

fn digest(file: &mut File, size: u64, pace: &mut Pace) -> io::Result<[u8; HASH_LEN]> {
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; CHUNK.min(size as usize + 1)];
    let mut total = 0;
    loop {
        let length = file.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        total += length as u64;
        // It grows while it is read, so it is not what was executed.
        if total > size {
            return Err(io::ErrorKind::InvalidData.into());
        }
        context.update(&chunk[..length]);
        pace.keep(length as u64);
    }
    context.finish().as_ref().try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn id_of(path: &Path) -> FileId {
        FileId::shown_by(&fs::metadata(path).unwrap())
    }

    fn pace() -> Pace {
        Pace::new(BYTES_PER_SECOND, BURST_BYTES)
    }

    fn job(path: &Path, file: FileId) -> Job {
        // No process has this number.
        Job { file, pid: u32::MAX, path: path.as_os_str().as_bytes().into() }
    }

    #[test]
    fn a_file_is_hashed_as_the_standard_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let Outcome::Hash(hash) = hash(&job(&path, id_of(&path)), &mut pace()) else {
            panic!("no hash")
        };
        let text: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn another_content_is_not_hashed_for_the_one_that_ran() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed");
        fs::write(&path, "good").unwrap();
        let executed = id_of(&path);
        thread::sleep(Duration::from_nanos(GRAIN_NS));
        fs::write(&path, "evil").unwrap();
        assert_eq!(hash(&job(&path, executed), &mut pace()), Outcome::Gone);
        let large = FileId { size: SIZE_MAX + 1, ..executed };
        assert_eq!(hash(&job(&path, large), &mut pace()), Outcome::TooLarge);
        fs::remove_file(&path).unwrap();
        assert_eq!(hash(&job(&path, executed), &mut pace()), Outcome::Gone);
    }

    #[test]
    fn the_thread_answers() {
        let worker = Worker::start(4).unwrap();
        let path = std::env::current_exe().unwrap();
        let file = id_of(&path);
        assert!(worker.ask(Job { file, pid: std::process::id(), path: Box::default() }));
        let (done, outcome) = worker.outcomes.recv().unwrap();
        assert!(done == file && matches!(outcome, Outcome::Hash(_) | Outcome::TooLarge));
    }
}
