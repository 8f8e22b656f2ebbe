//! Two hash tables, one written by the programs while the other is read and emptied.

use zerocopy::{FromBytes, Immutable};

use self::{
    pair::Pair,
    turn::{Generation, Turn},
};
use crate::probe::{Maps, ProbeError};

pub(super) mod pair;
pub(super) mod turn;

pub(super) struct Twin<K, V> {
    turn: Turn,
    tables: Pair<K, V>,
}

impl<K, V> Twin<K, V>
where
    K: FromBytes + Immutable,
    V: FromBytes + Immutable,
{
    pub(super) fn take(
        maps: &mut Maps,
        names: [&'static str; 2],
        generation: Generation,
        slot: u32,
    ) -> Result<Self, ProbeError> {
        Ok(Self { turn: Turn::new(generation, slot), tables: Pair::take(maps, names)? })
    }

    /// Hands each entry, with its value on every CPU, to `each`, and removes it.
    pub(super) fn empty(&mut self, each: &mut dyn FnMut(K, &[V])) {
        let tables = &mut self.tables;
        self.turn.over(|half| tables.read(half, each));
    }
}
