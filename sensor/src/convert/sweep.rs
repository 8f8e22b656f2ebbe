//! Probes of a source → the wire's record.

use sensor_abi::sketch::{SweepKey, SweepStats};
use wire::record::{Address, ProcessRef, Sweep, direction};

use crate::clock::ClockPair;
use crate::observation::{Record, Text};

/// Probes as the drain gives them.
pub type SweepCount = (SweepKey, SweepStats);

/// Converts what one source probed.
pub fn sweep((key, stats): &SweepCount, clock: ClockPair) -> Record {
    let direction = if key.outgoing == 1 { direction::OUTGOING } else { direction::INCOMING };
    Record::Sweep(Sweep {
        first_ns: clock.unix(stats.first_ns),
        last_ns: clock.unix(stats.last_ns),
        process: ProcessRef::default(),
        source: Address(key.source),
        direction,
        packets: stats.packets,
        syns: stats.syns,
        resets: stats.rsts,
        unreachables: stats.unreachables,
        odd: stats.odd,
        addresses: Text::from(&stats.addresses[..]),
        ports: Text::from(&stats.ports[..]),
    })
}

#[cfg(test)]
mod tests {
    use sensor_abi::sketch;

    use super::*;

    #[test]
    fn registers_and_counts_cross_as_they_are() {
        let key = SweepKey { source: [7; 16], outgoing: 1 };
        let mut stats = SweepStats { packets: 9, syns: 4, rsts: 2, odd: 3, ..SweepStats::ZERO };
        (stats.first_ns, stats.last_ns) = (1_000, 2_000);
        sketch::add_port(&mut stats.ports, 443);
        let clock = ClockPair { boot_ns: 0, unix_ns: 50 };
        let Record::Sweep(sweep) = sweep(&(key, stats), clock) else { panic!("a sweep") };
        assert_eq!((sweep.first_ns, sweep.last_ns), (1_050, 2_050));
        assert_eq!((sweep.source, sweep.direction), (Address([7; 16]), direction::OUTGOING));
        assert_eq!((sweep.packets, sweep.syns, sweep.resets, sweep.odd), (9, 4, 2, 3));
        assert_eq!((&sweep.ports[..], &sweep.addresses[..]), (&stats.ports[..], &[0; 128][..]));
    }
}
