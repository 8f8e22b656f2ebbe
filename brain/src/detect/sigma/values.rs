//! What an event's fields hold, read once into buffers that are used again.

/// Whether a field is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Presence {
    /// Nothing is known of it.
    #[default]
    Missing,
    /// The record has nothing there: empty and absent are one.
    Blank,
    /// It is there and says `null`.
    Null,
    /// It is there.
    There,
}

/// The end of a list of spans.
const NONE: u32 = u32::MAX;

/// The values of one field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) presence: Presence,
    first: u32,
    last: u32,
}

impl Slot {
    pub(super) const EMPTY: Self = Self { presence: Presence::Missing, first: NONE, last: NONE };
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    next: u32,
}

/// The texts of many values, each as it is and in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    plain: Vec<u8>,
    lower: Vec<u8>,
    spans: Vec<Span>,
}

impl Values {
    /// Forgets all values and keeps the room.
    pub(super) fn clear(&mut self) {
        self.plain.clear();
        self.lower.clear();
        self.spans.clear();
    }

    /// Adds a text to a field.
    pub(super) fn push(&mut self, slot: &mut Slot, text: &[u8]) {
        self.push_with(slot, |out| out.extend_from_slice(text));
    }

    /// Adds a text to a field that is only there when it is not empty.
    pub(super) fn push_some(&mut self, slot: &mut Slot, text: &[u8]) {
        if text.is_empty() {
            slot.presence = slot.presence.max(Presence::Blank);
        } else {
            self.push(slot, text);
        }
    }

    /// Adds what is shown of a value.
    pub(super) fn push_shown(&mut self, slot: &mut Slot, value: impl std::fmt::Display) {
        use std::io::Write as _;
        // Writing to a vector cannot fail.
        self.push_with(slot, |out| drop(write!(out, "{value}")));
    }

    /// Adds a text that `write` makes in place.
    pub(super) fn push_with(&mut self, slot: &mut Slot, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.plain.len();
        write(&mut self.plain);
        self.lower.extend(self.plain[start..].iter().map(u8::to_ascii_lowercase));
        let (start, end) = (start as u32, self.plain.len() as u32);
        let span = self.spans.len() as u32;
        self.spans.push(Span { start, end, next: NONE });
        match slot.last {
            NONE => slot.first = span,
            last => self.spans[last as usize].next = span,
        }
        (slot.last, slot.presence) = (span, Presence::There);
    }

    /// Returns the texts of a field: as they are, and in lower case.
    pub(super) fn of(&self, slot: Slot) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut next = slot.first;
        std::iter::from_fn(move || {
            let span = self.spans.get(next as usize)?;
            next = span.next;
            let range = span.start as usize..span.end as usize;
            Some((&self.plain[range.clone()], &self.lower[range]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_fields_may_come_in_turns() {
        let (mut values, mut a, mut b) = (Values::default(), Slot::EMPTY, Slot::EMPTY);
        values.push(&mut a, b"One");
        values.push_shown(&mut b, 7);
        values.push(&mut a, b"");
        values.push_some(&mut b, b"");
        let texts: Vec<_> = values.of(a).collect();
        assert_eq!(texts, [(&b"One"[..], &b"one"[..]), (b"", b"")]);
        assert_eq!(values.of(b).count(), 1);
        assert_eq!((a.presence, b.presence), (Presence::There, Presence::There));
        values.clear();
        assert_eq!(values.of(Slot::EMPTY).count(), 0);
    }
}
