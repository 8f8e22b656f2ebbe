//! When system calls are counted. Pure.
//!
//! A tracepoint on system calls slows every one of them on the host, so by default it is on for a
//! second in thirty. What is counted says for how long it was counted.

use crate::probe::SyscallMode;

/// Length of a counting window.
const WINDOW_NS: u64 = 1_000_000_000;
/// From the begin of one window to the begin of the next.
const PERIOD_NS: u64 = 30_000_000_000;

/// The duty cycle of counting.
#[derive(Debug)]
pub struct Duty {
    mode: SyscallMode,
    /// When the current window began; `None` between windows.
    since_ns: Option<u64>,
    /// When the latest window began.
    last_ns: Option<u64>,
    counted_ns: u64,
}

impl Duty {
    /// Starts between windows.
    pub fn new(mode: SyscallMode) -> Self {
        Self { mode, since_ns: None, last_ns: None, counted_ns: 0 }
    }

    /// Returns whether counting must be switched now, and to what.
    pub fn switch(&mut self, now_ns: u64) -> Option<bool> {
        match (self.mode, self.since_ns) {
            (SyscallMode::Off, _) | (SyscallMode::Continuous, Some(_)) => None,
            (SyscallMode::Sampled, Some(since)) => {
                let over = now_ns.saturating_sub(since) >= WINDOW_NS;
                over.then(|| {
                    self.counted_ns += now_ns - since;
                    self.since_ns = None;
                    false
                })
            }
            (_, None) => {
                let due = self.last_ns.is_none_or(|last| now_ns.saturating_sub(last) >= PERIOD_NS);
                due.then(|| {
                    (self.since_ns, self.last_ns) = (Some(now_ns), Some(now_ns));
                    true
                })
            }
        }
    }

    /// Ends a window that is open, for good; what it has counted is whole then.
    pub fn end(&mut self, now_ns: u64) {
        if let Some(since) = self.since_ns.take() {
            self.counted_ns += now_ns.saturating_sub(since);
        }
        // No other window is ever due.
        self.last_ns = Some(u64::MAX);
    }

    /// Returns for how long calls were counted since this was last asked.
    pub fn take_window(&mut self, now_ns: u64) -> u64 {
        let running = self.since_ns.map_or(0, |since| now_ns.saturating_sub(since));
        if let Some(since) = &mut self.since_ns
            && self.mode == SyscallMode::Continuous
        {
            *since = now_ns;
            return running;
        }
        // A window that is still open is told whole, once it has ended.
        std::mem::take(&mut self.counted_ns)
    }

    /// Returns whether the counts of a window are whole and may be read.
    pub fn is_readable(&self) -> bool {
        match self.mode {
            SyscallMode::Off => false,
            SyscallMode::Continuous => true,
            SyscallMode::Sampled => self.counted_ns > 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn sampling_is_on_a_second_in_thirty() {
        let mut duty = Duty::new(SyscallMode::Sampled);
        assert_eq!(duty.switch(0), Some(true));
        assert_eq!((duty.switch(SECOND / 2), duty.is_readable()), (None, false));
        assert_eq!(duty.switch(SECOND + 50), Some(false));
        assert!(duty.is_readable());
        assert_eq!(duty.take_window(SECOND + 60), SECOND + 50);
        assert_eq!((duty.is_readable(), duty.switch(29 * SECOND)), (false, None));
        assert_eq!(duty.switch(30 * SECOND), Some(true));
    }

    #[test]
    fn continuous_counting_tells_the_time_between_readings() {
        let mut duty = Duty::new(SyscallMode::Continuous);
        assert_eq!(duty.switch(0), Some(true));
        assert_eq!(duty.switch(100 * SECOND), None);
        assert_eq!(duty.take_window(3 * SECOND), 3 * SECOND);
        assert_eq!(duty.take_window(4 * SECOND), SECOND);
    }

    #[test]
    fn a_window_that_is_ended_early_is_whole() {
        let mut duty = Duty::new(SyscallMode::Sampled);
        assert_eq!(duty.switch(0), Some(true));
        duty.end(SECOND / 4);
        assert!(duty.is_readable());
        assert_eq!(duty.take_window(SECOND), SECOND / 4);
        assert_eq!(duty.switch(99 * SECOND), None);
    }

    #[test]
    fn off_stays_off() {
        let mut duty = Duty::new(SyscallMode::Off);
        assert_eq!((duty.switch(0), duty.is_readable()), (None, false));
    }
}
