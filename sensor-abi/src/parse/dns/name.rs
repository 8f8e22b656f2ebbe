//! Domain names, with the pointers that shorten them.

use core::fmt;

use super::Problem;

/// Most bytes of a name on the wire, lengths and the root's included.
pub const NAME_MAX: usize = 255;
/// The two upper bits of a length byte: a label, or a pointer.
const FORM: u8 = 0xc0;
const POINTER: u8 = 0xc0;

/// A name as bytes: labels joined by dots, without the root's; empty for the root itself.
///
/// Case and odd bytes are kept. Since a label may hold a dot itself, see [`Name::is_ambiguous`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_MAX],
    len: u8,
    ambiguous: bool,
}

impl Name {
    /// The root.
    pub const ROOT: Self = Self { bytes: [0; NAME_MAX], len: 0, ambiguous: false };

    /// Reads the name at an offset of a message; returns where the bytes after it start.
    pub fn read(message: &[u8], at: usize) -> Result<(Self, usize), Problem> {
        let mut name = Self::ROOT;
        // Where the part being read starts: a pointer leads to before it, so this only falls.
        let (mut start, mut at) = (at, at);
        let mut after = None;
        let mut wire_len = 1;
        loop {
            let length = *message.get(at).ok_or(Problem::Truncated)?;
            match length & FORM {
                POINTER => {
                    let low = *message.get(at + 1).ok_or(Problem::Truncated)?;
                    let target = usize::from(u16::from_be_bytes([length & !FORM, low]));
                    if target >= start {
                        return Err(Problem::BadName);
                    }
                    after.get_or_insert(at + 2);
                    (start, at) = (target, target);
                }
                0 if length == 0 => return Ok((name, after.unwrap_or(at + 1))),
                0 => {
                    let end = at + 1 + usize::from(length);
                    let label = message.get(at + 1..end).ok_or(Problem::Truncated)?;
                    wire_len += 1 + label.len();
                    if wire_len > NAME_MAX {
                        return Err(Problem::BadName);
                    }
                    name.push(label);
                    at = end;
                }
                _ => return Err(Problem::BadName),
            }
        }
    }

    /// Returns the name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Returns whether a label holds a dot, so that the joined form reads like another name.
    pub const fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Adds a label; the caller has checked that the whole name is not too long.
    fn push(&mut self, label: &[u8]) {
        let mut len = usize::from(self.len);
        if len > 0 {
            self.bytes[len] = b'.';
            len += 1;
        }
        self.bytes[len..len + label.len()].copy_from_slice(label);
        self.len = (len + label.len()) as u8;
        self.ambiguous |= label.contains(&b'.');
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.as_bytes().escape_ascii())
    }
}
