//! What happens in a trial, made from its seed alone: how bad the link is, who is killed when, when
//! the network is cut, which disk is full and whose clock is set. Pure.

/// Sensors of a trial.
pub const SENSORS: usize = 2;
/// How long things go wrong. What comes after is for everything to arrive.
pub const TROUBLE_MS: u64 = 4_000;
/// Faults of a trial, at least and at most.
const FAULTS: (u64, u64) = (3, 6);
/// A clock may be off by so much.
const CLOCK_STEP_S: i64 = 3_600;
/// Of a thousand links, so many are very bad, and so many let no long datagrams pass.
const VERY_BAD: u64 = 150;
const SHORT: u64 = 200;
/// A very bad link loses nearly a third of the datagrams, and takes half a second there and back.
const VERY_BAD_LINK: (u64, u64) = (300, 250);
/// Shortest longest datagram of a path (RFC 9000, section 14).
const DATAGRAM_MIN: usize = 1_200;
/// Longest datagram of any.
const DATAGRAM_MAX: usize = 65_535;

/// A stream of numbers that a seed means for ever, whatever libraries do.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Starts the stream of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low + 1)
    }

    /// Returns `true` in so many of a thousand cases.
    pub fn per_mille(&mut self, cases: u64) -> bool {
        self.number() % 1000 < cases
    }
}

/// How the link treats a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Of a thousand packets, so many never arrive.
    pub lost: u64,
    /// So many arrive twice.
    pub doubled: u64,
    /// Each is late by up to so many milliseconds, so that packets overtake each other.
    pub late_ms: u64,
    /// Longer ones never arrive, and nobody is told.
    pub longest: usize,
}

/// What a sensor is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feed {
    /// Events a second.
    pub per_second: u64,
    /// Bytes of each that no compression makes smaller.
    pub bytes: u64,
}

/// Something that is done at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// `kill -9`.
    KillBrain,
    /// It starts on the same data.
    StartBrain,
    /// `kill -9`.
    KillSensor(usize),
    /// It starts on the same state, with its clock off by so many seconds.
    StartSensor(usize, i64),
    /// Nothing passes the link.
    Cut,
    /// The link is as bad as before.
    Mend,
    /// The link's addresses towards the brain are others from now on.
    Move,
    /// A sensor's clock is off by so many seconds from now on.
    SetClock(usize, i64),
    /// A sensor's files cannot grow beyond a size: writes are cut short, then refused.
    LimitFiles(usize),
    /// They can.
    FreeFiles(usize),
    /// The brain's disk is full.
    FillBrain,
    /// It has room again.
    FreeBrain,
    /// A sensor's disk is full.
    FillSensor(usize),
    /// It has room again.
    FreeSensor(usize),
}

/// A trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The link of all sensors.
    pub link: Link,
    /// What each sensor is fed with.
    pub feeds: [Feed; SENSORS],
    /// Milliseconds since the start, and what is done then; in order.
    pub steps: Vec<(u64, Step)>,
}

impl Plan {
    /// Makes a seed's plan.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let n = &mut numbers;
        let (mut lost, doubled, mut late_ms) = (n.within(0, 150), n.within(0, 80), n.within(0, 40));
        if n.per_mille(VERY_BAD) {
            (lost, late_ms) = VERY_BAD_LINK;
        }
        let longest = if n.per_mille(SHORT) { DATAGRAM_MIN } else { DATAGRAM_MAX };
        let link = Link { lost, doubled, late_ms, longest };
        let feeds = std::array::from_fn(|_| Feed {
            per_second: n.within(100, 600),
            bytes: n.within(0, 3_500),
        });
        let mut steps = Vec::new();
        for _ in 0..n.within(FAULTS.0, FAULTS.1) {
            let begin = n.within(100, TROUBLE_MS - 200);
            let end = (begin + n.within(50, 1_500)).min(TROUBLE_MS);
            let sensor = n.within(0, SENSORS as u64 - 1) as usize;
            let clock = (n.within(0, 2) as i64 - 1) * CLOCK_STEP_S;
            let (first, then) = match n.within(0, 10) {
                0 | 1 => (Step::KillBrain, Step::StartBrain),
                2 | 3 => (Step::KillSensor(sensor), Step::StartSensor(sensor, clock)),
                4 => (Step::Cut, Step::Mend),
                5 | 6 => (Step::FillBrain, Step::FreeBrain),
                7 => (Step::Move, Step::Move),
                8 => (Step::SetClock(sensor, clock), Step::SetClock(sensor, -clock)),
                9 => (Step::LimitFiles(sensor), Step::FreeFiles(sensor)),
                _ => (Step::FillSensor(sensor), Step::FreeSensor(sensor)),
            };
            steps.extend([(begin, first), (end, then)]);
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { link, feeds, steps }
    }

    /// Returns the plan in one line.
    pub fn text(&self) -> String {
        let steps = self.steps.iter().map(|(at, step)| format!("{at} {step:?}"));
        let Link { lost, doubled, late_ms, longest } = self.link;
        let steps = steps.collect::<Vec<_>>().join(", ");
        format!(
            "{lost} ‰ lost, {doubled} ‰ doubled, up to {late_ms} ms late and {longest} bytes long; \
             {steps}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_one_plan_and_another_seed_another_one() {
        assert_eq!(Plan::new(7), Plan::new(7));
        assert_ne!(Plan::new(7), Plan::new(8));
        // The first number of the published generator for seed 0.
        assert_eq!(Numbers::new(0).number(), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn what_begins_ends_in_time_and_every_fault_comes_up() {
        let mut seen = std::collections::BTreeSet::new();
        let mut links = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let plan = Plan::new(seed);
            let Link { lost, longest, .. } = plan.link;
            links.insert((lost == VERY_BAD_LINK.0, longest == DATAGRAM_MIN));
            assert!(plan.steps.is_sorted_by_key(|(at, _)| *at), "{seed}");
            assert!(plan.steps.iter().all(|(at, _)| *at <= TROUBLE_MS), "{seed}");
            assert_eq!(plan.steps.len() % 2, 0);
            seen.extend(
                plan.steps
                    .iter()
                    .map(|(_, step)| std::mem::discriminant(step))
                    .map(|kind| format!("{kind:?}")),
            );
        }
        assert_eq!((seen.len(), links.len()), (14, 4));
    }
}
