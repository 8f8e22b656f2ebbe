//! Makes tracefs visible while programs are attached, on hosts where nobody has mounted it.

use std::{path::Path, thread};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use tracing::debug;

/// Where programs are attached to tracepoints by name.
const FOLDER: &str = "/sys/kernel/tracing";

/// Runs `work` where tracefs can be read. A mount is made in a namespace of one thread, which ends
/// with the work, so the host's mounts stay as they are.
pub(super) fn visible<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if has_entries(Path::new(FOLDER)) || has_entries(Path::new("/sys/kernel/debug/tracing")) {
        return work();
    }
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // Without it, the hooks that need it say so.
            if let Err(error) = mounted() {
                debug!(%error, "tracefs cannot be mounted");
            }
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn has_entries(folder: &Path) -> bool {
    folder.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

fn mounted() -> nix::Result<()> {
    const NONE: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tracefs"), FOLDER, Some("tracefs"), flags, NONE)
}
