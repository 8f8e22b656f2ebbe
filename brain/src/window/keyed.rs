//! State per key, bounded: when full, the entry that was used longest ago leaves and is counted.

use std::collections::HashMap;
use std::hash::Hash;

/// No entry.
const NONE: usize = usize::MAX;

/// A map of at most `max` entries in the order of their last use. Iteration follows that order,
/// never the hash, so that results do not depend on it.
#[derive(Debug)]
pub struct Keyed<K, V> {
    index: HashMap<K, usize>,
    slots: Vec<Slot<K, V>>,
    free: Vec<usize>,
    oldest: usize,
    newest: usize,
    max: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Slot<K, V> {
    entry: Option<(K, V)>,
    older: usize,
    newer: usize,
}

impl<K: Clone + Eq + Hash, V> Keyed<K, V> {
    /// Returns an empty map for at most `max` entries, at least one.
    pub fn new(max: usize) -> Self {
        Self {
            index: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            max: max.max(1),
            evicted: 0,
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Returns whether the next new key pushes an entry out.
    pub fn is_full(&self) -> bool {
        self.index.len() >= self.max
    }

    /// Entries that left because the map was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Returns [`Keyed::evicted`] and begins to count anew.
    pub fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    /// Returns the value without counting as a use.
    pub fn peek(&self, key: &K) -> Option<&V> {
        let slot = self.index.get(key)?;
        self.slots[*slot].entry.as_ref().map(|(_, value)| value)
    }

    /// Returns the value and counts as a use.
    pub fn get(&mut self, key: &K) -> Option<&mut V> {
        let slot = *self.index.get(key)?;
        self.unlink(slot);
        self.link_newest(slot);
        self.slots[slot].entry.as_mut().map(|(_, value)| value)
    }

    /// Returns the value, made by `new` when there is none, and counts as a use.
    pub fn get_or(&mut self, key: &K, new: impl FnOnce() -> V) -> &mut V {
        let slot = match self.index.get(key) {
            Some(&slot) => {
                self.unlink(slot);
                slot
            }
            None => {
                if self.is_full() && self.pop_oldest().is_some() {
                    self.evicted += 1;
                }
                let slot = self.take_slot();
                self.index.insert(key.clone(), slot);
                slot
            }
        };
        self.link_newest(slot);
        &mut self.slots[slot].entry.get_or_insert_with(|| (key.clone(), new())).1
    }

    /// Takes the entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let slot = self.index.remove(key)?;
        self.unlink(slot);
        self.free.push(slot);
        self.slots[slot].entry.take().map(|(_, value)| value)
    }

    /// Returns the entry that was used longest ago.
    pub fn oldest(&self) -> Option<(&K, &V)> {
        let slot = self.slots.get(self.oldest)?;
        slot.entry.as_ref().map(|(key, value)| (key, value))
    }

    /// Returns the entry that was used longest ago, to be changed, without counting as a use.
    pub fn oldest_mut(&mut self) -> Option<(&K, &mut V)> {
        let slot = self.slots.get_mut(self.oldest)?;
        slot.entry.as_mut().map(|(key, value)| (&*key, value))
    }

    /// Takes out the entry that was used longest ago.
    pub fn pop_oldest(&mut self) -> Option<(K, V)> {
        let slot = self.oldest;
        if slot == NONE {
            return None;
        }
        self.unlink(slot);
        self.free.push(slot);
        let entry = self.slots[slot].entry.take();
        if let Some((key, _)) = &entry {
            self.index.remove(key);
        }
        entry
    }

    /// Returns the keys, the one used longest ago first.
    pub fn keys(&self) -> Vec<K> {
        let mut keys = Vec::with_capacity(self.len());
        let mut at = self.oldest;
        while at != NONE {
            let slot = &self.slots[at];
            keys.extend(slot.entry.iter().map(|(key, _)| key.clone()));
            at = slot.newer;
        }
        keys
    }

    /// Visits all entries, the one used longest ago first, without counting as a use.
    pub fn for_each(&mut self, mut visit: impl FnMut(&K, &mut V)) {
        let mut at = self.oldest;
        while at != NONE {
            let slot = &mut self.slots[at];
            if let Some((key, value)) = &mut slot.entry {
                visit(key, value);
            }
            at = slot.newer;
        }
    }

    fn take_slot(&mut self) -> usize {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.slots.push(Slot { entry: None, older: NONE, newer: NONE });
        self.slots.len() - 1
    }

    fn unlink(&mut self, slot: usize) {
        let Slot { older, newer, .. } = self.slots[slot];
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older].newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer].older = older,
        }
    }

    fn link_newest(&mut self, slot: usize) {
        let older = self.newest;
        self.slots[slot].older = older;
        self.slots[slot].newer = NONE;
        match older {
            NONE => self.oldest = slot,
            older => self.slots[older].newer = slot,
        }
        self.newest = slot;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_entry_used_longest_ago_leaves_and_is_counted() {
        let mut map = Keyed::new(2);
        *map.get_or(&"a", || 1) += 1;
        map.get_or(&"b", || 5);
        assert_eq!(map.get(&"a").copied(), Some(2));
        map.get_or(&"c", || 7);
        assert_eq!((map.peek(&"b"), map.len(), map.evicted()), (None, 2, 1));
        assert_eq!(map.keys(), ["a", "c"]);
    }

    proptest! {
        /// Compares with a plain list that moves what is used to its end.
        #[test]
        fn behaves_like_a_list_in_order_of_use(
            steps in proptest::collection::vec((0u8..4, 0u8..12), 0..300),
        ) {
            let mut map = Keyed::new(5);
            let mut list: Vec<(u8, u32)> = Vec::new();
            for (at, (step, key)) in steps.into_iter().enumerate() {
                let known = list.iter().position(|(k, _)| *k == key);
                match step {
                    0 => prop_assert_eq!(map.remove(&key), known.map(|p| list.remove(p).1)),
                    1 => {
                        prop_assert_eq!(map.get(&key).copied(), known.map(|p| list[p].1));
                        if let Some(p) = known {
                            let entry = list.remove(p);
                            list.push(entry);
                        }
                    }
                    2 => {
                        let value = *map.get_or(&key, || at as u32);
                        let entry = known.map_or((key, at as u32), |p| list.remove(p));
                        if list.len() == 5 {
                            list.remove(0);
                        }
                        list.push(entry);
                        prop_assert_eq!(value, entry.1);
                    }
                    _ => {
                        let first = if list.is_empty() { None } else { Some(list.remove(0)) };
                        prop_assert_eq!(map.pop_oldest(), first);
                    }
                }
                prop_assert_eq!(map.keys(), list.iter().map(|(k, _)| *k).collect::<Vec<_>>());
            }
        }
    }
}
