//! The sensor's clocks, and how the kernel's time since boot becomes calendar time. The only file
//! that reads a clock.

use std::path::Path;

use nix::time::{ClockId, clock_gettime};

use crate::atomic_file;

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

/// Where a state directory keeps [`StartOffset`].
const START_OFFSET_FILE: &str = "start-offset";

/// Boot time and calendar time, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockPair {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME`, nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

impl ClockPair {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self { boot_ns: boot_ns(), unix_ns: read(ClockId::CLOCK_REALTIME) }
    }

    /// Returns the calendar time of a moment since boot.
    pub fn unix(self, boot_ns: u64) -> u64 {
        let offset = i128::from(self.unix_ns) - i128::from(self.boot_ns);
        u64::try_from(i128::from(boot_ns) + offset).unwrap_or(0)
    }
}

/// Returns the nanoseconds since boot, suspended time included.
pub fn boot_ns() -> u64 {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Returns by how much the time since boot is ahead of the monotonic clock: what was spent
/// suspended.
pub fn suspended_ns() -> u64 {
    // Read first, so that the time between both calls is not taken for a suspension's part.
    let monotonic = read(ClockId::CLOCK_MONOTONIC);
    boot_ns().saturating_sub(monotonic)
}

/// Returns the processor time that this process has used, in nanoseconds.
pub fn cpu_ns() -> u64 {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// The clock pair that turns process start times into calendar time.
///
/// A process is named by its pid and start time, so a start time must not wander when somebody sets
/// the clock. The pair is therefore read once per boot, and kept in the state directory so that a
/// restarted sensor gives processes the same names.
pub fn start_offset(state_dir: Option<&Path>, boot_id: &str) -> ClockPair {
    let kept = state_dir.map(|dir| dir.join(START_OFFSET_FILE));
    if let Some(pair) = kept.as_deref().and_then(|path| load_offset(path, boot_id)) {
        return pair;
    }
    let pair = ClockPair::now();
    if let Some(path) = kept {
        let text = format!("{boot_id} {} {}\n", pair.boot_ns, pair.unix_ns);
        if let Err(error) = atomic_file::write(&path, text.as_bytes(), 0o600) {
            tracing::warn!(path = %path.display(), %error, "cannot keep the clock offset");
        }
    }
    pair
}

fn load_offset(path: &Path, boot_id: &str) -> Option<ClockPair> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    if words.next()? != boot_id {
        return None;
    }
    let boot_ns = words.next()?.parse().ok()?;
    Some(ClockPair { boot_ns, unix_ns: words.next()?.parse().ok()? })
}

fn read(clock: ClockId) -> u64 {
    // These clocks exist on every kernel that can load the programs; zero would only misdate
    // records.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() as u64 * SECOND + t.tv_nsec() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_since_boot_gets_its_calendar_time() {
        let pair = ClockPair { boot_ns: 100, unix_ns: 1_000 };
        assert_eq!((pair.unix(100), pair.unix(40), pair.unix(2_000)), (1_000, 940, 2_900));
        assert_eq!(ClockPair { boot_ns: 100, unix_ns: 0 }.unix(40), 0);
    }

    #[test]
    fn the_offset_is_kept_within_a_boot() {
        let dir = tempfile::tempdir().unwrap();
        let first = start_offset(Some(dir.path()), "boot-a");
        assert_eq!(start_offset(Some(dir.path()), "boot-a"), first);
        assert_ne!(start_offset(Some(dir.path()), "boot-b"), first);
    }
}
