//! Chance that repeats itself.

/// A small generator (splitmix64): good enough for made-up hosts, and the same everywhere.
#[derive(Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low)
    }

    /// Whether something happens that happens once in so many times.
    pub(super) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A size with a long tail: most are small, some are a thousand times as large.
    pub(super) fn size(&mut self, least: u64) -> u64 {
        let magnitude = self.below(11);
        least + self.below(least << magnitude)
    }

    /// A whole number around `mean`, from half of it to half as much again.
    pub(super) fn about(&mut self, mean: f64) -> u64 {
        let unit = self.below(1 << 20) as f64 / f64::from(1 << 20);
        let wanted = mean * (0.5 + unit);
        let rest = (wanted.fract() * f64::from(1 << 20)) as u64;
        wanted as u64 + u64::from(self.below(1 << 20) < rest)
    }

    /// Bytes without a pattern, such as a hash.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next() as u8)
    }
}
