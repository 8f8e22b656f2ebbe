//! Adds up the values that a flow has on each CPU (pure).

use sensor_abi::flow::{Direction, FlowStats};

/// Returns the sum over all CPUs.
pub(super) fn sum(values: &[FlowStats]) -> FlowStats {
    values.iter().fold(FlowStats::ZERO, |sum, value| FlowStats {
        ingress: add(sum.ingress, value.ingress),
        egress: add(sum.egress, value.egress),
    })
}

/// Counters add up, times span both, flags join, and the later of two initial sequence numbers
/// wins: the earlier one belongs to a connection that used the same ports before.
fn add(a: Direction, b: Direction) -> Direction {
    let knows = |d: &Direction| d.state & FlowStats::HAS_ISN != 0;
    let newer = if a.last_ns >= b.last_ns { a } else { b };
    let older = if a.last_ns >= b.last_ns { b } else { a };
    Direction {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
        first_ns: match (a.first_ns, b.first_ns) {
            (0, first) | (first, 0) => first,
            (first, second) => first.min(second),
        },
        last_ns: newer.last_ns,
        isn: if knows(&newer) { newer.isn } else { older.isn },
        tcp_flags: a.tcp_flags | b.tcp_flags,
        state: a.state | b.state,
        syns: a.syns.saturating_add(b.syns),
    }
}

/// Turns times of the kernel's coarse clock into time since boot. That clock stands still between
/// two ticks of the kernel, so it may say that the last packet came before the first.
pub(super) fn settled(mut stats: FlowStats, offset_ns: u64) -> FlowStats {
    for direction in [&mut stats.ingress, &mut stats.egress] {
        if direction.packets > 0 {
            direction.last_ns = last_ns(direction.first_ns, direction.last_ns, offset_ns);
        }
    }
    stats
}

/// Likewise for one moment.
pub(super) fn last_ns(first_ns: u64, coarse_ns: u64, offset_ns: u64) -> u64 {
    coarse_ns.saturating_add(offset_ns).max(first_ns)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn direction() -> impl Strategy<Value = Direction> {
        (
            0u64..1000,
            0u64..9999,
            0u64..50,
            0u64..50,
            any::<u32>(),
            any::<u8>(),
            0u8..2,
            any::<u16>(),
        )
            .prop_map(|(packets, bytes, first_ns, span, isn, tcp_flags, state, syns)| {
                Direction {
                    packets,
                    bytes,
                    first_ns,
                    last_ns: first_ns + span,
                    isn,
                    tcp_flags,
                    state,
                    syns,
                }
            })
    }

    fn stats() -> impl Strategy<Value = FlowStats> {
        (direction(), direction()).prop_map(|(ingress, egress)| FlowStats { ingress, egress })
    }

    #[test]
    fn the_newer_connection_on_a_key_keeps_its_number() {
        let one = |last_ns, isn| FlowStats {
            ingress: Direction { last_ns, isn, state: FlowStats::HAS_ISN, ..Direction::ZERO },
            egress: Direction::ZERO,
        };
        assert_eq!(sum(&[one(9, 90), one(5, 50)]).ingress.isn, 90);
        assert_eq!(sum(&[one(5, 50), one(9, 90)]).ingress.isn, 90);
    }

    #[test]
    fn a_cpu_that_saw_no_handshake_does_not_hide_the_number() {
        let syn = Direction { last_ns: 5, isn: 7, state: FlowStats::HAS_ISN, ..Direction::ZERO };
        let data = Direction { last_ns: 9, ..Direction::ZERO };
        assert_eq!(add(syn, data).isn, 7);
        assert_eq!(add(data, syn).isn, 7);
    }

    #[test]
    fn times_are_told_since_boot_and_in_order() {
        let one =
            |first_ns, last_ns| Direction { packets: 1, first_ns, last_ns, ..Direction::ZERO };
        let stats = FlowStats { ingress: one(1_007, 5), egress: one(1_007, 9) };
        let settled = settled(stats, 1_000);
        assert_eq!((settled.ingress.last_ns, settled.egress.last_ns), (1_007, 1_009));
        assert_eq!(super::settled(FlowStats::ZERO, 1_000), FlowStats::ZERO);
    }

    proptest! {
        #[test]
        fn nothing_counted_is_lost_in_a_sum(values in proptest::collection::vec(stats(), 0..9)) {
            let total = sum(&values);
            prop_assert_eq!(
                total.egress.packets,
                values.iter().map(|value| value.egress.packets).sum::<u64>()
            );
            prop_assert_eq!(
                total.ingress.bytes,
                values.iter().map(|value| value.ingress.bytes).sum::<u64>()
            );
        }
    }
}
