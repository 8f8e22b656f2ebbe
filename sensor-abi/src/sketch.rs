//! How many different addresses and ports one source probes, in a few bytes: HyperLogLog
//! (Flajolet, Fusy, Gandouet, Meunier: "HyperLogLog: the analysis of a near-optimal cardinality
//! estimation algorithm", AofA 2007).
//!
//! A sketch is an array of registers. Each value is hashed; the first bits choose a register, which
//! keeps the largest position of the first set bit in the rest. Two sketches merge by taking the
//! larger of each register, so the brain can join what many hosts saw of one source, or one host
//! over hours. With 128 registers the standard error is 1.04/√128 = 9.2 %. Small counts are biased
//! upwards, which linear counting corrects below 2.5 times the number of registers; a hash of 64
//! bits needs no correction for large ones.
//!
//! The hash is fixed, because registers of different hosts must fit together. Whoever knows it can
//! choose values that raise the estimate, or that hide among others; both take addresses or ports
//! that are really probed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Registers of one sketch.
pub const REGISTERS: usize = 128;
/// Bits of the hash that choose a register.
const CHOICE: u32 = REGISTERS.trailing_zeros();

/// Who probes, as one host sees it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SweepKey {
    /// Who probes (v4-mapped for IPv4).
    pub source: [u8; 16],
    /// Whether the source is the host itself: 1 when it is, 0 when the probes come from outside.
    pub outgoing: u32,
}

/// What a source probed.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SweepStats {
    /// First packet, nanoseconds since boot.
    pub first_ns: u64,
    /// Last packet, on the kernel's coarse monotonic clock; the drain turns it into nanoseconds
    /// since boot.
    pub last_ns: u64,
    /// Packets counted here: probes and the answers that refuse them.
    pub packets: u64,
    /// SYNs among them.
    pub syns: u64,
    /// RSTs among them.
    pub rsts: u64,
    /// ICMP errors among them that say unreachable.
    pub unreachables: u64,
    /// Packets with TCP flags that no stack sends among them (FIN, NULL and Xmas scans).
    pub odd: u64,
    /// Distinct addresses that were probed.
    pub addresses: [u8; REGISTERS],
    /// Distinct ports that were probed.
    pub ports: [u8; REGISTERS],
}

impl SweepStats {
    /// Nothing yet.
    pub const ZERO: Self = Self {
        first_ns: 0,
        last_ns: 0,
        packets: 0,
        syns: 0,
        rsts: 0,
        unreachables: 0,
        odd: 0,
        addresses: [0; REGISTERS],
        ports: [0; REGISTERS],
    };
}

/// Adds an address to its sketch.
#[inline(always)]
pub fn add_address(registers: &mut [u8; REGISTERS], address: &[u8; 16]) {
    let [a, b, c, d, e, f, g, h, rest @ ..] = *address;
    let [i, j, k, l, m, n, o, p] = rest;
    let upper = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let lower = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    add(registers, mix(mix(upper) ^ lower));
}

/// Adds a port to its sketch.
#[inline(always)]
pub fn add_port(registers: &mut [u8; REGISTERS], port: u16) {
    add(registers, mix(u64::from(port)));
}

/// Adds a hash. A register is one byte, so that CPUs that share a sketch need no lock: at worst
/// one of two values that arrive in the same instant is forgotten.
#[inline(always)]
fn add(registers: &mut [u8; REGISTERS], hash: u64) {
    let register = &mut registers[(hash >> (64 - CHOICE)) as usize];
    // The bit behind the rest bounds the rank when all of the rest is zero.
    let rest = hash << CHOICE | 1 << (CHOICE - 1);
    let rank = rest.leading_zeros() as u8 + 1;
    if rank > *register {
        *register = rank;
    }
}

/// Spreads a value over 64 bits (the finalizer of SplitMix64; Steele, Lea, Flood 2014).
#[inline(always)]
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

const _: () = assert!(REGISTERS.is_power_of_two());
const _: () = assert!(size_of::<SweepKey>() == 20);
const _: () = assert!(size_of::<SweepStats>() == 56 + 2 * REGISTERS);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for SweepKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for SweepStats {}

/// Estimates how many distinct values a sketch holds.
#[cfg(any(test, feature = "user"))]
pub fn estimate(registers: &[u8]) -> f64 {
    let count = registers.len() as f64;
    let alpha = 0.7213 / (1.0 + 1.079 / count);
    let sum: f64 = registers.iter().map(|&rank| 0.5_f64.powi(i32::from(rank))).sum();
    let raw = alpha * count * count / sum;
    let empty = registers.iter().filter(|&&rank| rank == 0).count();
    if raw <= 2.5 * count && empty > 0 {
        // Linear counting, which has less bias while registers are empty.
        return count * (count / empty as f64).ln();
    }
    raw
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: u32) -> [u8; 16] {
        let [a, b, c, d] = number.to_be_bytes();
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
    }

    fn of_addresses(numbers: impl Iterator<Item = u32>) -> [u8; REGISTERS] {
        let mut registers = [0; REGISTERS];
        numbers.for_each(|number| add_address(&mut registers, &address(number)));
        registers
    }

    #[test]
    fn the_estimate_stays_within_four_standard_errors() {
        let allowed = 4.0 * 1.04 / (REGISTERS as f64).sqrt();
        for count in [1_u32, 2, 10, 100, 300, 1_000, 10_000, 1_000_000] {
            let estimated = estimate(&of_addresses(0x0a00_0000..0x0a00_0000 + count));
            let wrong = (estimated - f64::from(count)).abs() / f64::from(count);
            assert!(wrong <= allowed, "{estimated} for {count}");
        }
        let mut ports = [0; REGISTERS];
        (1..=u16::MAX).for_each(|port| add_port(&mut ports, port));
        let wrong = (estimate(&ports) - 65_535.0).abs() / 65_535.0;
        assert!(wrong <= allowed, "{} ports", estimate(&ports));
    }

    #[test]
    fn few_values_are_counted_almost_exactly() {
        for count in 1..=8 {
            let estimated = estimate(&of_addresses(0..count)).round() as u32;
            assert!(estimated.abs_diff(count) <= 1, "{estimated} for {count}");
        }
        assert!(estimate(&[0; REGISTERS]).abs() < f64::EPSILON);
    }

    proptest! {
        #[test]
        fn merging_equals_adding_all(
            a in proptest::collection::vec(any::<u32>(), 0..300),
            b in proptest::collection::vec(any::<u32>(), 0..300),
        ) {
            let (one, other) = (of_addresses(a.iter().copied()), of_addresses(b.iter().copied()));
            let mut merged = one;
            merged.iter_mut().zip(other).for_each(|(to, rank)| *to = rank.max(*to));
            prop_assert_eq!(merged, of_addresses(a.into_iter().chain(b)));
        }

        #[test]
        fn seeing_a_value_again_changes_nothing(
            values in proptest::collection::vec(0u32..99, 1..50),
        ) {
            let once = of_addresses(values.iter().copied());
            prop_assert_eq!(once, of_addresses(values.iter().chain(&values).copied()));
        }

        #[test]
        fn any_hash_fits_its_register(hash in any::<u64>()) {
            let mut registers = [0; REGISTERS];
            add(&mut registers, hash);
            prop_assert_eq!(registers.iter().filter(|&&rank| rank > 0).count(), 1);
            prop_assert!(registers.iter().all(|&rank| u32::from(rank) <= 65 - CHOICE));
        }
    }
}
