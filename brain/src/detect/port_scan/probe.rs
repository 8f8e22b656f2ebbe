//! Tells from a flow's record what became of a first contact, and who made it.

use crate::record::tcp_flag::{ACK, RST, SYN};
use crate::record::{Direction, Flow, protocol};

/// Which end of a probe the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Side {
    /// The host probes.
    Actor,
    /// The host is probed.
    Victim,
}

/// What became of a first contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was answered; also said of later packets of a conversation that works.
    Answered,
    /// It was refused, or broken off before it was complete.
    Refused,
    /// A refusal whose contact is not in the same record.
    RefusedLate,
    /// Nothing came back so far.
    Unanswered,
}

/// ICMP types: echo request and reply, of IPv4 and IPv6.
const ECHO_REQUESTS: [(u8, u16); 2] = [(protocol::ICMP, 8), (protocol::ICMPV6, 128)];
const ECHO_REPLIES: [(u8, u16); 2] = [(protocol::ICMP, 0), (protocol::ICMPV6, 129)];

/// Ports that `traceroute` counts through.
const TRACEROUTE_PORTS: std::ops::RangeInclusive<u16> = 33_434..=33_534;

/// Packets of a UDP probe in one tick; who sends more is streaming, not asking.
const UDP_PROBE_PACKETS_MAX: u64 = 3;

/// Judges a record; `None` when it says nothing about a first contact.
pub(super) fn judge(flow: &Flow) -> Option<(Side, Outcome)> {
    if !flow.exact {
        return None;
    }
    match flow.protocol {
        protocol::TCP => tcp(flow),
        protocol::UDP => udp(flow),
        protocol::ICMP | protocol::ICMPV6 => echo(flow),
        _ => None,
    }
}

fn tcp(flow: &Flow) -> Option<(Side, Outcome)> {
    let (sent, received) = (flow.egress.tcp_flags, flow.ingress.tcp_flags);
    // A SYN that came with ACK and met no SYN answers one of an earlier record.
    let asks =
        |asked: u8, answered: u8| asked & SYN != 0 && (asked & ACK == 0 || answered & SYN != 0);
    let (we_opened, they_opened) = match flow.direction {
        Direction::Outgoing => (asks(sent, received), false),
        Direction::Incoming => (false, asks(received, sent)),
        // SYN without ACK opens. A connection that is opened and confirmed within one record shows
        // both flags on both sides; then it is answered, whoever opened it.
        Direction::Unknown => (sent & (SYN | ACK) == SYN, received & (SYN | ACK) == SYN),
    };
    if we_opened {
        return Some((Side::Actor, opened(sent, received, flow.ingress.packets)));
    }
    if they_opened {
        return Some((Side::Victim, opened(received, sent, flow.egress.packets)));
    }
    // Later packets of a conversation: they can only settle what is pending.
    let side = if flow.direction == Direction::Incoming { Side::Victim } else { Side::Actor };
    let answer = if side == Side::Actor { received } else { sent };
    if answer & RST != 0 && answer & SYN == 0 && sent & SYN == 0 && received & SYN == 0 {
        let silent = if side == Side::Actor { flow.egress.packets } else { flow.ingress.packets };
        return (silent == 0).then_some((side, Outcome::RefusedLate));
    }
    (answer & SYN != 0).then_some((side, Outcome::Answered))
}

/// Judges a contact by the flags of who opened it and of who should answer.
fn opened(asked: u8, answered: u8, answers: u64) -> Outcome {
    if answered & SYN != 0 {
        // Whoever asks, gets an answer and breaks off at once wanted to know, not to talk.
        let half_open = asked & RST != 0 && asked & ACK == 0;
        if half_open { Outcome::Refused } else { Outcome::Answered }
    } else if answered & RST != 0 {
        Outcome::Refused
    } else if answers == 0 {
        Outcome::Unanswered
    } else {
        Outcome::Answered
    }
}

fn udp(flow: &Flow) -> Option<(Side, Outcome)> {
    if flow.direction != Direction::Outgoing || TRACEROUTE_PORTS.contains(&flow.remote.port()) {
        return None;
    }
    if flow.ingress.packets > 0 {
        return Some((Side::Actor, Outcome::Answered));
    }
    let probe = (1..=UDP_PROBE_PACKETS_MAX).contains(&flow.egress.packets);
    probe.then_some((Side::Actor, Outcome::Unanswered))
}

/// Requests and replies are flows of their own, since their types differ.
fn echo(flow: &Flow) -> Option<(Side, Outcome)> {
    let kind = (flow.protocol, flow.local.port());
    if ECHO_REQUESTS.contains(&kind) && flow.egress.packets > 0 {
        return Some((Side::Actor, Outcome::Unanswered));
    }
    let reply = ECHO_REPLIES.contains(&kind) && flow.ingress.packets > 0;
    reply.then_some((Side::Actor, Outcome::Answered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Counters;
    use crate::record::tcp_flag::FIN;

    fn flow(sent: Option<u8>, received: Option<u8>, direction: Direction) -> Flow {
        let counters = |flags: Option<u8>| Counters {
            packets: u64::from(flags.is_some()),
            tcp_flags: flags.unwrap_or(0),
            ..Counters::default()
        };
        Flow {
            local: "10.0.0.1:40000".parse().unwrap(),
            remote: "10.0.0.2:80".parse().unwrap(),
            protocol: protocol::TCP,
            family: 4,
            exact: true,
            direction,
            ifindex: 1,
            vlans: [0; 2],
            tunnel: None,
            last_ns: 0,
            ingress: counters(received),
            egress: counters(sent),
        }
    }

    #[test]
    fn first_contacts_are_told_apart() {
        use Direction::{Incoming, Outgoing, Unknown};
        use Outcome::{Answered, Refused, RefusedLate, Unanswered};
        use Side::{Actor, Victim};
        let talk = SYN | ACK | FIN;
        for (sent, received, direction, expected) in [
            (Some(SYN), Some(RST | ACK), Unknown, Some((Actor, Refused))),
            (Some(SYN), None, Unknown, Some((Actor, Unanswered))),
            (Some(SYN | RST), Some(SYN | ACK), Unknown, Some((Actor, Refused))),
            (Some(talk), Some(talk), Outgoing, Some((Actor, Answered))),
            (Some(talk | RST), Some(talk), Outgoing, Some((Actor, Answered))),
            (Some(RST | ACK), Some(SYN), Unknown, Some((Victim, Refused))),
            (None, Some(SYN), Unknown, Some((Victim, Unanswered))),
            (Some(SYN | ACK), Some(SYN | RST), Unknown, Some((Victim, Refused))),
            (Some(talk), Some(talk), Incoming, Some((Victim, Answered))),
            (None, Some(RST | ACK), Unknown, Some((Actor, RefusedLate))),
            (Some(SYN | ACK), None, Outgoing, None),
            (Some(SYN | ACK), Some(RST), Outgoing, None),
            (None, Some(SYN | ACK), Outgoing, Some((Actor, Answered))),
            (Some(ACK), Some(ACK), Unknown, None),
            (Some(ACK | RST), Some(ACK), Unknown, None),
        ] {
            assert_eq!(judge(&flow(sent, received, direction)), expected, "{sent:?} {received:?}");
        }
    }
}
