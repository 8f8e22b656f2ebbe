//! What a host tells of its network, and of its processes' counters.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use sensor::ledger::Signal;
use sensor::observation::{Observation, Record};
use sensor::process::Process;
use wire::record::{
    Activity, Address, Connection, Counters, Dns, DnsAnswer, Flow, Sweep, Syscalls, Tls, Uring,
    Use, connection_event, direction, dns_flag,
};

use super::{Host, SECOND_NS, Second, seen, text};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Ports that the host serves, the busiest several times.
const SERVED: [u16; 7] = [443, 443, 443, 443, 80, 5432, 22];

/// Ports that it connects to.
const USED: [u16; 5] = [443, 443, 8080, 5432, 6379];

const NAMES: [&str; 12] = [
    "api.stripe.com",
    "static.shop.example",
    "s3.eu-central-1.amazonaws.com",
    "registry-1.docker.io",
    "hooks.slack.com",
    "db-1.prod.shop.internal",
    "cache.prod.shop.internal",
    "ntp.ubuntu.com",
    "sentry.io",
    "fonts.googleapis.com",
    "cart.default.svc.cluster.local",
    "smtp.mailgun.org",
];

/// JA4 fingerprints of common clients.
const JA4: [&str; 3] = [
    "t13d1516h2_8daaf6152771_02713d6af862",
    "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6",
    "t12d190800_d83cc789557e_16bbda4055b2",
];

/// Registers of one distinct count (HyperLogLog), most of them empty.
const REGISTERS: usize = 64;

impl Host {
    pub(super) fn network(&mut self, second: &mut Second) {
        for _ in 0..self.count(5.0) {
            let port = *self.chance.pick(&SERVED);
            self.served(second, port);
        }
        for _ in 0..self.count(2.0) {
            let port = *self.chance.pick(&USED);
            self.used(second, port);
        }
        for _ in 0..self.count(1.5) {
            self.question(second);
        }
        if self.chance.one_in(20) {
            self.scanned(second);
        }
        if self.chance.one_in(4) {
            let record = Uring {
                time_ns: self.now() + SECOND_NS,
                opcode: *self.chance.pick(&[1, 2, 13, 22, 23]),
                count: self.chance.size(4),
                ..Uring::default()
            };
            let lineage = self.life.service_lineage(&mut self.chance);
            second.bulk.push(seen(Signal::Uring, lineage, Record::Uring(record)));
        }
    }

    /// Somebody connects to a service of the host.
    fn served(&mut self, second: &mut Second, port: u16) {
        let lineage = self.life.server(port);
        let peer = match port {
            5432 => IpAddr::from(Ipv4Addr::new(10, 20, 0, self.chance.between(2, 30) as u8)),
            _ => IpAddr::from(self.chance.bytes::<4>()),
        };
        let from = self.chance.between(32_768, 61_000) as u16;
        let ends = (peer.into(), port, from);
        self.tcp(second, &lineage, ends, direction::INCOMING);
    }

    /// The host connects to somebody.
    fn used(&mut self, second: &mut Second, port: u16) {
        let lineage = self.life.server(8080);
        let peer = match port {
            443 => Ipv4Addr::new(104, 18, self.chance.below(4) as u8, self.chance.below(8) as u8),
            _ => Ipv4Addr::new(10, 20, 0, self.chance.between(2, 12) as u8),
        };
        let from = self.chance.between(32_768, 61_000) as u16;
        let ends = (IpAddr::from(peer).into(), from, port);
        self.tcp(second, &lineage, ends, direction::OUTGOING);
        if port != 443 {
            return;
        }
        let record = Tls {
            time_ns: self.moment(),
            direction: direction::OUTGOING,
            version: 0x0304,
            ifindex: 2,
            local: self.local(),
            remote: ends.0,
            local_port: from,
            remote_port: port,
            count: 1,
            server_name: text(self.chance.pick(&NAMES)),
            ja4: text(self.chance.pick(&JA4)),
            alpn: text("h2"),
            ..Tls::default()
        };
        second.bulk.push(seen(Signal::Tls, lineage, Record::Tls(record)));
    }

    fn tcp(
        &mut self,
        second: &mut Second,
        lineage: &[Rc<Process>],
        (remote, local_port, remote_port): (Address, u16, u16),
        direction: u8,
    ) {
        let (first_ns, local) = (self.moment(), self.local());
        let last_ns = first_ns + self.chance.size(200_000);
        let (sent, received) = (self.chance.size(600), self.chance.size(300));
        let counters = |host: &mut Self, bytes: u64| Counters {
            packets: 4 + bytes / 1_400,
            bytes: bytes + 66 * (4 + bytes / 1_400),
            syns: 1,
            tcp_flags: 0x1b,
            isn: Some(host.chance.next() as u32),
        };
        let flow = Flow {
            first_ns,
            last_ns,
            local,
            remote,
            local_port,
            remote_port,
            protocol: TCP,
            family: 4,
            ifindex: 2,
            direction,
            ingress: counters(self, received),
            egress: counters(self, sent),
            ..Flow::default()
        };
        let used = Use {
            first_ns: first_ns + 90_000,
            last_ns,
            protocol: TCP,
            direction,
            local,
            remote,
            local_port,
            remote_port,
            sent,
            received,
            sends: 1 + sent / 16_384,
            receives: 1 + received / 16_384,
            ..Use::default()
        };
        let begun = match direction {
            direction::OUTGOING => connection_event::CONNECTED,
            _ => connection_event::ACCEPTED,
        };
        for (event, time_ns) in [(begun, first_ns + 40_000), (connection_event::CLOSED, last_ns)] {
            let protocol = TCP;
            let record = Connection {
                time_ns,
                event,
                protocol,
                local,
                remote,
                local_port,
                remote_port,
                ..Connection::default()
            };
            second.bulk.push(seen(Signal::Socket, lineage.to_vec(), Record::Connection(record)));
        }
        let packets = flow.ingress.packets + flow.egress.packets;
        let flow = seen(Signal::Flow, lineage.to_vec(), Record::Flow(flow));
        second.bulk.push(Observation { events: packets, ..flow });
        second.bulk.push(seen(Signal::Use, lineage.to_vec(), Record::Use(used)));
    }

    /// A question to the resolver and its answer.
    fn question(&mut self, second: &mut Second) {
        let lineage = self.life.server(8080);
        let name = text(self.chance.pick(&NAMES));
        let question = Dns {
            time_ns: self.moment(),
            transport: UDP,
            id: self.chance.next() as u16,
            query_type: *self.chance.pick(&[1, 1, 28]),
            count: 1,
            size: 30 + name.len() as u16,
            ifindex: 2,
            local: self.local(),
            remote: IpAddr::from([10, 0, 0, 2]).into(),
            local_port: self.chance.between(32_768, 61_000) as u16,
            remote_port: 53,
            name,
            ..Dns::default()
        };
        let answers = (0..self.chance.between(1, 4)).map(|_| DnsAnswer {
            kind: 1,
            ttl: *self.chance.pick(&[30, 60, 300]),
            data: text([104, 18, self.chance.below(4) as u8, self.chance.below(8) as u8]),
        });
        let answer = Dns {
            answers: answers.collect(),
            time_ns: question.time_ns + 300_000 + self.chance.size(20_000),
            flags: dns_flag::RESPONSE | dns_flag::INCOMING,
            size: question.size + 48,
            ..question.clone()
        };
        for record in [question, answer] {
            second.bulk.push(seen(Signal::Dns, lineage.clone(), Record::Dns(record)));
        }
    }

    /// A stranger probes ports.
    fn scanned(&mut self, second: &mut Second) {
        let probes = self.chance.between(2, 40);
        let mut registers = || {
            let mut registers = [0_u8; REGISTERS];
            for _ in 0..probes {
                registers[self.chance.below(REGISTERS as u64) as usize] =
                    1 + self.chance.below(6) as u8;
            }
            text(registers)
        };
        let (addresses, ports) = (registers(), registers());
        let record = Sweep {
            first_ns: self.moment(),
            last_ns: self.now() + SECOND_NS,
            source: IpAddr::from(self.chance.bytes::<4>()).into(),
            direction: direction::INCOMING,
            packets: probes,
            syns: probes,
            resets: probes / 2,
            addresses,
            ports,
            ..Sweep::default()
        };
        second.bulk.push(seen(Signal::Sweep, Vec::new(), Record::Sweep(record)));
    }

    /// Calls and acts of the services in a second that was counted.
    pub(super) fn syscalls(&mut self, second: &mut Second) {
        for port in [443, 5432, 6379, 22, 8080] {
            let lineage = self.life.server(port);
            for number in [0, 1, 3, 9, 35, 39, 44, 45, 202, 232, 257, 281] {
                let count = self.chance.size(3);
                let latency = (0..self.chance.between(9, 16)).map(|bucket| match bucket {
                    0..8 => 0,
                    _ => self.chance.below(count) as u32,
                });
                let record = Syscalls {
                    number,
                    count,
                    latency: latency.collect(),
                    time_ns: self.now() + SECOND_NS,
                    window_ns: SECOND_NS,
                    ..Syscalls::default()
                };
                let call = seen(Signal::Syscall, lineage.clone(), Record::Syscalls(record));
                second.bulk.push(Observation { events: count, ..call });
            }
            let record = Activity {
                time_ns: self.now() + SECOND_NS,
                window_ns: SECOND_NS,
                forks: self.chance.below(4),
                write_opens: self.chance.size(2),
                creates: self.chance.below(9),
                renames: self.chance.below(3),
                unlinks: self.chance.below(9),
                ..Activity::default()
            };
            second.bulk.push(seen(Signal::Activity, lineage, Record::Activity(record)));
        }
    }
}
