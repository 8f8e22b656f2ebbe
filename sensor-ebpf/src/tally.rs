//! What one packet adds to its flow.

use sensor_abi::{
    flow::{Direction, FlowStats},
    parse::headers::{Tcp, Way, tcp_flag},
};

/// Adds one packet of `bytes` bytes, seen at `now_ns`.
#[inline(always)]
pub fn packet(stats: &mut FlowStats, way: Way, bytes: u64, now_ns: u64, tcp: Option<Tcp>) {
    let (own, peer) = match way {
        Way::Ingress => (&mut stats.ingress, &mut stats.egress),
        Way::Egress => (&mut stats.egress, &mut stats.ingress),
    };
    own.packets += 1;
    own.bytes += bytes;
    if own.first_ns == 0 {
        own.first_ns = now_ns;
    }
    own.last_ns = now_ns;
    if let Some(tcp) = tcp {
        segment(own, peer, tcp);
    }
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

    fn feed(stats: &mut FlowStats, way: Way, flags: u8, seq: u32, ack: u32) {
        packet(stats, way, 60, 5, Some(Tcp { flags, seq, ack }));
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
        packet(&mut stats, Way::Egress, 1514, 10, None);
        packet(&mut stats, Way::Egress, 60, 20, None);
        packet(&mut stats, Way::Ingress, 42, 15, None);
        let egress = stats.egress;
        assert_eq!((egress.packets, egress.bytes), (2, 1574));
        assert_eq!((egress.first_ns, egress.last_ns), (10, 20));
        assert_eq!((stats.ingress.packets, stats.ingress.bytes), (1, 42));
    }
}
