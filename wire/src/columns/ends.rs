//! The two ends of connections: each pair once in a batch, however many records name it.

use std::collections::HashMap;

use super::Fault;
use super::number::{Packer, Unpacker};
use crate::limits;
use crate::record::Address;

/// First 12 bytes of an IPv4 address mapped into IPv6.
const MAPPED: u128 = 0xffff_0000_0000;

/// What a record says of both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    pub(super) local: Address,
    pub(super) remote: Address,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
}

/// All pairs of a batch, in the order in which they are first named.
#[derive(Debug, Default)]
pub(super) struct EndsTable {
    list: Vec<Ends>,
    places: HashMap<Ends, u64>,
}

impl EndsTable {
    /// Returns the place of a pair, which is added when it is new.
    pub(super) fn place(&mut self, ends: Ends) -> u64 {
        let next = self.list.len() as u64;
        let place = *self.places.entry(ends).or_insert(next);
        if place == next {
            self.list.push(ends);
        }
        place
    }

    /// Returns the pair at a place.
    pub(super) fn at(&self, place: u64) -> Result<Ends, Fault> {
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        self.list.get(place).copied().ok_or("there is no such pair of ends")
    }

    pub(super) fn put(&self, to: &mut Packer) {
        to.number(self.list.len() as u64);
        put_addresses(to, self.list.iter().map(|ends| ends.local));
        put_addresses(to, self.list.iter().map(|ends| ends.remote));
        to.numbers(self.list.iter().map(|ends| u64::from(ends.local_port)));
        to.numbers(self.list.iter().map(|ends| u64::from(ends.remote_port)));
    }

    pub(super) fn take(from: &mut Unpacker) -> Result<Self, Fault> {
        let count = from.count(limits::RECORDS_MAX)?;
        if count == 0 {
            return Ok(Self::default());
        }
        let local = take_addresses(from, count)?;
        let remote = take_addresses(from, count)?;
        let local_ports = from.numbers(count)?;
        let remote_ports = from.numbers(count)?;
        let port = |port: u64| u16::try_from(port).map_err(|_| "a port is too large");
        let mut list = Vec::with_capacity(count);
        for (((local, remote), &local_port), &remote_port) in
            local.into_iter().zip(remote).zip(&local_ports).zip(&remote_ports)
        {
            let (local_port, remote_port) = (port(local_port)?, port(remote_port)?);
            list.push(Ends { local, remote, local_port, remote_port });
        }
        from.used_up(local_ports);
        from.used_up(remote_ports);
        Ok(Self { list, places: HashMap::new() })
    }
}

/// Adds a column of addresses: the lower halves, in which IPv4 is all there is, and the upper ones.
pub(super) fn put_addresses(to: &mut Packer, addresses: impl Iterator<Item = Address> + Clone) {
    // An IPv4 address becomes a small number, so that a column of them is narrow.
    let numbers = addresses.map(|address| u128::from_be_bytes(address.0) ^ MAPPED);
    to.numbers(numbers.clone().map(|number| number as u64));
    to.numbers(numbers.map(|number| (number >> 64) as u64));
}

pub(super) fn take_addresses(from: &mut Unpacker, count: usize) -> Result<Vec<Address>, Fault> {
    let (lower, upper) = (from.numbers(count)?, from.numbers(count)?);
    let address = |(&lower, &upper): (&u64, &u64)| {
        Address(((u128::from(upper) << 64 | u128::from(lower)) ^ MAPPED).to_be_bytes())
    };
    let addresses = lower.iter().zip(&upper).map(address).collect();
    from.used_up(lower);
    from.used_up(upper);
    Ok(addresses)
}
