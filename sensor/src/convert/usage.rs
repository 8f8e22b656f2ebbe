//! Uses of sockets.

use sensor_abi::usage::{Use as Counted, UseKey};
use wire::record::{Address, Connection, ProcessRef, Use, connection_event};

use super::Head;
use crate::clock::ClockPair;
use crate::owner::{Place, Tuple};
use crate::process::Key;

/// A use of a socket as the drain gives it.
pub type UseCount = (UseKey, Counted);

/// Converts a use; also returns who used which socket, last at the time that the head says.
pub fn usage(key: &UseKey, counted: &Counted, clock: ClockPair) -> (Head, Tuple, Place, Use) {
    let head = Head {
        process: (key.tgid != 0).then(|| Key::new(key.tgid, counted.start_ns)),
        time_ns: counted.last_ns,
        cgroup_id: counted.cgroup_id,
        uid: counted.uid,
    };
    let tuple = Tuple {
        protocol: counted.protocol,
        local: counted.local_addr,
        local_port: counted.local_port,
        remote: counted.remote_addr,
        remote_port: counted.remote_port,
    };
    let record = Use {
        first_ns: clock.unix(counted.first_ns),
        last_ns: clock.unix(counted.last_ns),
        process: ProcessRef::default(),
        protocol: counted.protocol,
        local: Address(counted.local_addr),
        remote: Address(counted.remote_addr),
        local_port: counted.local_port,
        remote_port: counted.remote_port,
        sent: counted.sent,
        received: counted.received,
        sends: counted.sends,
        receives: counted.receives,
        ..Use::default()
    };
    (head, tuple, Place { netns: counted.netns, sock: key.sock as u32 }, record)
}

/// Returns the record of a socket that listened before the programs were attached.
pub fn listening(tuple: &Tuple, clock: ClockPair) -> Connection {
    Connection {
        time_ns: clock.unix_ns,
        process: ProcessRef::default(),
        event: connection_event::LISTEN,
        protocol: tuple.protocol,
        local: Address(tuple.local),
        remote: Address(tuple.remote),
        local_port: tuple.local_port,
        remote_port: tuple.remote_port,
    }
}
