//! How a host's clocks map onto the brain's.
//!
//! The brain asks over the control stream what the host's clocks say, and notes how long the answer
//! took. The host read its clocks somewhere in between, so the middle is off by half of that time
//! at most (Cristian, "Probabilistic clock synchronization", Distributed Computing 3, 1989). What
//! is mapped is the clock that counts from boot, which nobody can set; the calendar clock is only
//! compared. So records are dated right whatever becomes of the host's calendar clock, and also
//! when they waited in a spool for hours.

use serde::{Deserialize, Serialize};
use wire::batch::Clock;

use crate::clock::SECOND_NS;

/// A calendar clock that is off by more is wrong, and one that moves by more against the time since
/// boot was set. Hosts that keep time over the network stay within milliseconds.
const WRONG_NS: u64 = 2 * SECOND_NS;

/// Two clocks may drift apart by this much in a second: ten times what usual crystals do, so that a
/// host that corrects its own drift stays within it as well.
const DRIFT_PER_S_NS: u64 = 500_000;

/// How well a clock is known that nobody has asked for.
const UNKNOWN_ERROR_NS: u64 = SECOND_NS;

/// An answer of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// What its clocks said.
    pub boot_ns: u64,
    /// Its calendar clock.
    pub unix_ns: u64,
    /// The brain's time in the middle between question and answer.
    pub brain_ns: u64,
    /// Half of the time in between.
    pub error_ns: u64,
}

impl Reading {
    /// Returns by how much the host's calendar clock is ahead of the brain's.
    fn ahead_ns(&self) -> i64 {
        difference(self.unix_ns, self.brain_ns)
    }

    fn error_at(&self, now_ns: u64) -> u64 {
        let age_s = now_ns.saturating_sub(self.brain_ns) / SECOND_NS;
        self.error_ns.saturating_add(age_s.saturating_mul(DRIFT_PER_S_NS))
    }
}

/// What is known of a host's clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClock {
    /// The boot that it is about.
    boot_id: String,
    /// The most exact answer, considering its age.
    best: Option<Reading>,
    /// The last answer.
    last: Option<Reading>,
    /// How often the calendar clock was set to another time.
    pub steps: u64,
    /// When that was last seen.
    pub stepped_ns: u64,
}

impl HostClock {
    /// Forgets what was said before the host's last boot.
    pub fn booted(&mut self, boot_id: &str) {
        if self.boot_id != boot_id {
            let (steps, stepped_ns) = (self.steps, self.stepped_ns);
            *self = Self { boot_id: boot_id.to_owned(), steps, stepped_ns, ..Self::default() };
        }
    }

    /// Takes in an answer. Returns how far the calendar clock was set since the one before, if it
    /// was.
    pub fn hear(&mut self, reading: Reading) -> Option<i64> {
        let since_boot = |r: &Reading| difference(r.unix_ns, r.boot_ns);
        let step = self.last.map(|last| since_boot(&reading).saturating_sub(since_boot(&last)));
        let step = step.filter(|step| step.unsigned_abs() > WRONG_NS);
        if step.is_some() {
            self.steps += 1;
            self.stepped_ns = reading.brain_ns;
        }
        self.last = Some(reading);
        if self.best.is_none_or(|best| reading.error_ns <= best.error_at(reading.brain_ns)) {
            self.best = Some(reading);
        }
        step
    }

    /// Returns by how much the times of a batch must be moved. `clock` is the batch's own;
    /// `same_boot` says whether that was read since the boot that is known here.
    ///
    /// A clock that may be right, considering the error, is left alone. Nothing happens after it
    /// was told.
    pub fn correction_ns(&self, clock: Clock, same_boot: bool, received_ns: u64) -> i64 {
        let told = i128::from(clock.unix_ns);
        let (mapped, error_ns) = match self.best {
            Some(best) if same_boot => {
                let since = i128::from(clock.boot_ns) - i128::from(best.boot_ns);
                (i128::from(best.brain_ns) + since, best.error_at(received_ns))
            }
            Some(best) => (told - i128::from(best.ahead_ns()), best.error_at(received_ns)),
            None => (told, UNKNOWN_ERROR_NS),
        };
        let by = clamped(mapped.min(i128::from(received_ns)) - told);
        if by.unsigned_abs() <= error_ns { 0 } else { by }
    }

    /// Returns by how much the host's calendar clock is ahead of the brain's, and the error's
    /// bound.
    pub fn offset_ns(&self, now_ns: u64) -> Option<(i64, u64)> {
        // A clock that was set since is not what the most exact answer said.
        let (best, last) = (self.best?, self.last?);
        let since = difference(last.boot_ns, best.boot_ns);
        let brain_ns = best.brain_ns.saturating_add_signed(since);
        Some((difference(last.unix_ns, brain_ns), best.error_at(now_ns)))
    }

    /// Returns whether the host's calendar clock is wrong for certain; `None` when nobody knows.
    pub fn is_wrong(&self, now_ns: u64) -> Option<bool> {
        let (offset_ns, error_ns) = self.offset_ns(now_ns)?;
        Some(offset_ns.unsigned_abs() > WRONG_NS.saturating_add(error_ns))
    }
}

/// Returns `a - b`, as far as that can be told.
fn difference(a: u64, b: u64) -> i64 {
    clamped(i128::from(a) - i128::from(b))
}

fn clamped(by: i128) -> i64 {
    i64::try_from(by).unwrap_or(if by < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000 * SECOND_NS;
    const MS: u64 = 1_000_000;
    const HOUR: u64 = 3_600 * SECOND_NS;

    /// An answer of a host that booted 100 s before `NOW`, after so many seconds.
    fn reading(after_s: u64, ahead_ns: i64, error_ns: u64) -> Reading {
        let brain_ns = NOW + after_s * SECOND_NS;
        let unix_ns = brain_ns.saturating_add_signed(ahead_ns);
        Reading { boot_ns: (100 + after_s) * SECOND_NS, unix_ns, brain_ns, error_ns }
    }

    fn clock(r: Reading) -> Clock {
        Clock { boot_ns: r.boot_ns, unix_ns: r.unix_ns }
    }

    #[test]
    fn a_host_an_hour_wrong_is_corrected_and_flagged() {
        for ahead in [HOUR as i64, -(HOUR as i64)] {
            let mut host = HostClock::default();
            assert_eq!(host.hear(reading(0, ahead, MS)), None);
            assert_eq!(host.is_wrong(NOW), Some(true));
            assert_eq!(host.offset_ns(NOW), Some((ahead, MS)));
            let batch = clock(reading(1, ahead, 0));
            assert_eq!(host.correction_ns(batch, true, NOW + 2 * SECOND_NS), -ahead);
            // Of an earlier boot nothing is known but that the clock was as wrong, presumably.
            let early = Clock { boot_ns: 7, unix_ns: batch.unix_ns - HOUR };
            assert_eq!(host.correction_ns(early, false, NOW + 2 * SECOND_NS), -ahead);
        }
    }

    #[test]
    fn a_clock_that_may_be_right_is_left_alone() {
        let mut host = HostClock::default();
        host.hear(reading(0, 3 * MS as i64, 5 * MS));
        let batch = clock(reading(0, 3 * MS as i64, 0));
        assert_eq!(host.correction_ns(batch, true, NOW + SECOND_NS), 0);
        assert_eq!(host.is_wrong(NOW), Some(false));
        assert_eq!(HostClock::default().is_wrong(NOW), None);
    }

    #[test]
    fn a_step_is_told_and_does_not_move_the_records() {
        let mut host = HostClock::default();
        host.hear(reading(0, 0, MS));
        let stepped = reading(60, -(HOUR as i64), 20 * MS);
        assert_eq!(host.hear(stepped), Some(-(HOUR as i64)));
        assert_eq!((host.steps, host.stepped_ns), (1, stepped.brain_ns));
        assert_eq!(host.offset_ns(stepped.brain_ns).unwrap().0, -(HOUR as i64));
        let late = NOW + 70 * SECOND_NS;
        for (batch, by) in [(clock(reading(59, 0, 0)), 0), (clock(stepped), HOUR as i64)] {
            assert_eq!(host.correction_ns(batch, true, late), by);
        }
        // Small corrections of its own, and another boot, are none.
        assert_eq!(host.hear(reading(120, -(HOUR as i64) + SECOND_NS as i64, MS)), None);
        host.booted("c");
        assert_eq!(host.hear(reading(180, 0, MS)), None);
        assert_eq!(host.steps, 1);
    }

    #[test]
    fn the_most_exact_answer_counts_until_it_is_old() {
        let mut host = HostClock::default();
        host.hear(reading(0, 0, MS));
        host.hear(reading(1, 0, 50 * MS));
        assert_eq!(host.offset_ns(NOW + SECOND_NS).unwrap().1, MS + DRIFT_PER_S_NS);
        host.hear(reading(120, 0, 50 * MS));
        assert_eq!(host.offset_ns(NOW + 120 * SECOND_NS).unwrap().1, 50 * MS);
    }

    #[test]
    fn nothing_comes_from_the_future_and_no_number_overflows() {
        let ahead = Clock { boot_ns: 5, unix_ns: NOW + HOUR };
        assert_eq!(HostClock::default().correction_ns(ahead, true, NOW), -(HOUR as i64));
        for number in [0, u64::MAX] {
            let mut host = HostClock::default();
            let hostile =
                Reading { boot_ns: number, unix_ns: number, brain_ns: NOW, error_ns: number };
            host.hear(hostile);
            host.hear(Reading { boot_ns: !number, ..hostile });
            for (boot_ns, unix_ns) in [(0, 0), (0, u64::MAX), (u64::MAX, 0)] {
                for same_boot in [false, true] {
                    let batch = Clock { boot_ns, unix_ns };
                    let _any = host.correction_ns(batch, same_boot, NOW);
                }
            }
            let _any = host.offset_ns(u64::MAX);
        }
    }
}
