//! Whose a socket is, from `/proc` at start and from what the programs tell since.

use std::collections::{HashMap, HashSet};

use wire::record::direction;

use super::Tracker;
use crate::clock::ClockPair;
use crate::convert::{self, Head, SocketChange, SocketEvent};
use crate::ledger::Signal;
use crate::observation::{Observation, Record};
use crate::owner::{Owner, Place, Tuple};
use crate::process::Key;
use crate::sockets::{OpenSocket, OpenSockets};

impl Tracker {
    /// Takes over the sockets that were open before. A connection to a port that is listened on
    /// came from outside.
    pub(super) fn seed_sockets(
        &mut self,
        OpenSockets { home, sockets }: OpenSockets,
        keys: &HashMap<u32, Key>,
        now_ns: u64,
    ) {
        self.owners.set_home(home);
        let port = |s: &OpenSocket| (s.netns, s.tuple.protocol, s.tuple.local_port);
        let served: HashSet<_> = sockets.iter().filter(|s| s.listens).map(port).collect();
        for socket in sockets {
            let process = keys.get(&socket.pid).copied();
            let place = Place { netns: socket.netns, sock: 0 };
            let direction = match served.contains(&port(&socket)) {
                true => direction::INCOMING,
                false => direction::OUTGOING,
            };
            if socket.listens {
                self.owners.listening(&socket.tuple, place, process, now_ns);
                self.listening.push(socket);
            } else if socket.tuple.remote_port == 0 {
                let Some(process) = process else { continue };
                self.owners.used(socket.tuple, place, process, now_ns);
            } else {
                self.owners.opened(socket.tuple, Owner { process, direction }, now_ns);
            }
        }
    }

    /// Returns the sockets that listened before the programs were attached; once.
    pub fn listening(&mut self, clock: ClockPair) -> Vec<Observation> {
        let open = std::mem::take(&mut self.listening);
        let mut observations = Vec::with_capacity(open.len());
        for socket in open {
            let process = self.processes.by_pid(socket.pid).cloned();
            let record = Record::Connection(convert::listening(&socket.tuple, clock));
            observations.push(self.observed(process, Signal::Inventory, record));
        }
        observations
    }

    /// Brings the table of sockets up to date. Returns who opened a connection as far as the table
    /// knows, for a listener that was there before the programs were.
    pub(super) fn socket_changed(&mut self, event: &SocketEvent, head: Head) -> Option<Key> {
        let SocketEvent { tuple, place, change, .. } = *event;
        match change {
            SocketChange::Opened(mut owner) => {
                owner.process = owner.process.or_else(|| self.owners.listener(&tuple, place));
                self.owners.opened(tuple, owner, head.time_ns);
                return owner.process;
            }
            SocketChange::Failed(owner) => self.owners.failed(tuple, owner, head.time_ns),
            SocketChange::Closed => self.owners.closed(&tuple, head.time_ns),
            SocketChange::Listening => {
                self.owners.listening(&tuple, place, head.process, head.time_ns);
            }
            SocketChange::NotListening => self.owners.not_listening(&tuple, place, head.process),
            SocketChange::Used => {
                self.socket_used(tuple, place, head);
            }
        }
        None
    }

    /// Gives a use of a socket its process, and the socket its user.
    pub fn usage(&mut self, counted: &convert::UseCount, clock: ClockPair) -> Observation {
        let (head, tuple, place, mut record) = convert::usage(&counted.0, &counted.1, clock);
        record.direction = self.socket_used(tuple, place, head);
        let events = record.sends + record.receives;
        let process = self.actor(head);
        Observation { events, ..self.observed(process, Signal::Use, Record::Use(record)) }
    }

    fn socket_used(&mut self, tuple: Tuple, place: Place, head: Head) -> u8 {
        match head.process {
            Some(process) => self.owners.used(tuple, place, process, head.time_ns),
            None => direction::UNKNOWN,
        }
    }
}
