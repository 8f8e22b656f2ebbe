//! What one packet adds to its flow.

use sensor_abi::{
    flow::{Direction, FlowStats},
    parse::headers::{Tcp, Way, tcp_flag},
};

/// What the flow's counters get to know of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Packets that it stands for: one, or the segments of an aggregate.
    pub packets: u64,
    /// Bytes, as the interface counts them.
    pub bytes: u64,
    /// When, on the clock of [`Direction::last_ns`].
    pub last_ns: u64,
    /// What its TCP header says; `None` too where several connections share the counters.
    pub tcp: Option<Tcp>,
}

/// Adds a packet. `first_ns` is asked for the precise time of a direction's first one.
#[inline(always)]
pub fn packet(stats: &mut FlowStats, way: Way, sample: Sample, first_ns: impl FnOnce() -> u64) {
    let (own, peer) = match way {
        Way::Ingress => (&mut stats.ingress, &mut stats.egress),
        Way::Egress => (&mut stats.egress, &mut stats.ingress),
    };
    own.packets += sample.packets;
    own.bytes += sample.bytes;
    if own.first_ns == 0 {
        own.first_ns = first_ns();
    }
    own.last_ns = sample.last_ns;
    if let Some(tcp) = sample.tcp {
        segment(own, peer, tcp);
    }
}

/// Adds a segment's flags to counters that several connections share; numbers would mix.
#[inline(always)]
pub fn shared_segment(stats: &mut FlowStats, way: Way, tcp: Tcp) {
    let own = match way {
        Way::Ingress => &mut stats.ingress,
        Way::Egress => &mut stats.egress,
    };
    own.tcp_flags |= tcp.flags;
    if tcp.flags & tcp_flag::SYN != 0 {
        own.syns = own.syns.saturating_add(1);
    }
}

/// Learns both numbers from the segment that completes a handshake on arrival. The caller knows
/// that it does, from the socket that waits for it.
#[inline(always)]
pub fn completed(stats: &mut FlowStats, tcp: Tcp) {
    learn(&mut stats.ingress, tcp.seq.wrapping_sub(1));
    learn(&mut stats.egress, tcp.ack.wrapping_sub(1));
    stats.egress.state |= FlowStats::ANSWERED;
}

/// Learns initial sequence numbers. `own` is the direction of the segment, `peer` the other one.
///
/// A SYN gives its sender's number, a SYN-ACK both. A plain ACK gives the other side's number only
/// when it completes a handshake whose SYN was seen in the same entry: any later ACK looks alike.
#[inline(always)]
fn segment(own: &mut Direction, peer: &mut Direction, tcp: Tcp) {
    own.tcp_flags |= tcp.flags;
    let acknowledges = tcp.flags & tcp_flag::ACK != 0;
    if tcp.flags & tcp_flag::SYN != 0 {
        own.syns = own.syns.saturating_add(1);
        learn(own, tcp.seq);
        if acknowledges {
            learn(peer, tcp.ack.wrapping_sub(1));
            own.state |= FlowStats::ANSWERED;
        }
        return;
    }
    let completes = acknowledges
        && own.state & FlowStats::HAS_ISN != 0
        && peer.state & FlowStats::HAS_ISN == 0
        && tcp.seq == own.isn.wrapping_add(1);
    if completes {
        learn(peer, tcp.ack.wrapping_sub(1));
    }
}

#[inline(always)]
fn learn(direction: &mut Direction, isn: u32) {
    direction.isn = isn;
    direction.state |= FlowStats::HAS_ISN;
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYN: u8 = tcp_flag::SYN;
    const ACK: u8 = tcp_flag::ACK;

    fn sample(bytes: u64, last_ns: u64, tcp: Option<Tcp>) -> Sample {
        Sample { packets: 1, bytes, last_ns, tcp }
    }

    fn feed(stats: &mut FlowStats, way: Way, flags: u8, seq: u32, ack: u32) {
        packet(stats, way, sample(60, 5, Some(Tcp { flags, seq, ack })), || 5);
    }

    fn isns(stats: &FlowStats) -> (Option<u32>, Option<u32>) {
        let one = |d: &Direction| (d.state & FlowStats::HAS_ISN != 0).then_some(d.isn);
        (one(&stats.ingress), one(&stats.egress))
    }

    #[test]
    fn client_learns_both_numbers_from_the_syn_ack_alone() {
        let mut stats = FlowStats::default();
        feed(&mut stats, Way::Ingress, SYN | ACK, 900, 101);
        assert_eq!(isns(&stats), (Some(900), Some(100)));
    }

    #[test]
    fn server_learns_both_numbers_from_syn_and_third_ack() {
        let mut stats = FlowStats::default();
        feed(&mut stats, Way::Ingress, SYN, u32::MAX, 0);
        assert_eq!(isns(&stats), (Some(u32::MAX), None));
        feed(&mut stats, Way::Ingress, ACK, 0, 901);
        assert_eq!(isns(&stats), (Some(u32::MAX), Some(900)));
    }

    #[test]
    fn an_ack_in_the_middle_of_a_connection_teaches_nothing() {
        let mut stats = FlowStats::default();
        feed(&mut stats, Way::Ingress, ACK, 5000, 901);
        assert_eq!(isns(&stats), (None, None));
        feed(&mut stats, Way::Ingress, SYN, 70, 0);
        feed(&mut stats, Way::Ingress, ACK, 75, 901);
        assert_eq!(isns(&stats), (Some(70), None));
    }

    #[test]
    fn a_reused_key_keeps_the_newest_number_and_counts_attempts() {
        let mut stats = FlowStats::default();
        feed(&mut stats, Way::Egress, SYN, 1, 0);
        feed(&mut stats, Way::Egress, SYN, 2, 0);
        assert_eq!((isns(&stats).1, stats.egress.syns), (Some(2), 2));
    }

    #[test]
    fn counters_and_times_belong_to_the_direction() {
        let mut stats = FlowStats::default();
        packet(&mut stats, Way::Egress, sample(1514, 10, None), || 10);
        packet(&mut stats, Way::Egress, sample(60, 20, None), || 20);
        packet(&mut stats, Way::Ingress, sample(42, 15, None), || 15);
        let egress = stats.egress;
        assert_eq!((egress.packets, egress.bytes), (2, 1574));
        assert_eq!((egress.first_ns, egress.last_ns), (10, 20));
        assert_eq!((stats.ingress.packets, stats.ingress.bytes), (1, 42));
    }

    #[test]
    fn who_answers_did_not_open_the_connection() {
        let mut stats = FlowStats::default();
        feed(&mut stats, Way::Ingress, SYN, 7, 0);
        assert_eq!(stats.egress.state & FlowStats::ANSWERED, 0);
        feed(&mut stats, Way::Egress, SYN | ACK, 9, 8);
        assert_ne!(stats.egress.state & FlowStats::ANSWERED, 0);
        assert_eq!(stats.ingress.state & FlowStats::ANSWERED, 0);
    }

    #[test]
    fn a_handshake_that_went_uncounted_is_known_from_its_end() {
        let mut stats = FlowStats::default();
        completed(&mut stats, Tcp { flags: ACK, seq: 0, ack: 901 });
        assert_eq!(isns(&stats), (Some(u32::MAX), Some(900)));
        assert_ne!(stats.egress.state & FlowStats::ANSWERED, 0);
    }

    #[test]
    fn shared_counters_learn_no_numbers() {
        let mut stats = FlowStats::default();
        shared_segment(&mut stats, Way::Ingress, Tcp { flags: SYN, seq: 7, ack: 0 });
        assert_eq!((isns(&stats), stats.ingress.syns), ((None, None), 1));
        assert_eq!(stats.ingress.tcp_flags, SYN);
    }
}
