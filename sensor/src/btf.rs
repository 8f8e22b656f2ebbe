//! Reads structure layouts from the kernel's own type information (BTF).
//!
//! Rust programs for BPF have no relocations against kernel types, so the sensor looks up the few
//! offsets that they need and sets them as globals. Pure and bounded: any bytes give a value or an
//! error. The format is described in the kernel's `Documentation/bpf/btf.rst`.

use std::collections::HashSet;

use thiserror::Error;

/// Where the running kernel shows its types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
const HEADER: usize = 24;
/// Bytes that every type has: name, kind, and size or another type.
const COMMON: usize = 12;
/// Types in a kernel: about 150 000 today. A file that claims more is not a kernel's.
const TYPES_MAX: usize = 4_000_000;
/// Structures nested without a name, and modifiers around a type. Kernels have fewer than ten.
const DEPTH_MAX: usize = 32;
/// Members that are looked at to find one. The longest structures have some hundreds; without a
/// limit, structures without names that hold each other take as long as they please.
const MEMBERS_MAX: usize = 65_536;

mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

/// Why type information could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Not BTF, or of the other byte order.
    #[error("the type information does not start as BTF does")]
    Magic,
    /// A section or a type reaches past the end.
    #[error("the type information ends early")]
    Truncated,
    /// A kind that this reader does not know, so that it cannot find the next type.
    #[error("the type information has the unknown kind {0}")]
    Kind(u32),
    /// More types than any kernel has.
    #[error("the type information has more than {TYPES_MAX} types")]
    TooMany,
}

/// Parsed type information.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where type `first + i` starts; type 0 is `void`.
    starts: Vec<u32>,
    /// Number of the first type. A module's types and strings go on from the kernel's.
    first: u32,
    kernel_strings: &'a [u8],
}

struct Type {
    kind: u32,
    members: usize,
    /// Members carry a bit-field size beside their offset.
    flagged: bool,
    name: u32,
    /// Size or referred type.
    target: u32,
    /// Where what follows the common part starts.
    body: usize,
}

impl<'a> Btf<'a> {
    /// Parses the bytes of a BTF file.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        Self::parse_from(bytes, 1, &[])
    }

    /// Parses the bytes of a module's BTF file. Only its own types are found in it, not those of
    /// the kernel that it refers to.
    pub fn parse_module(bytes: &'a [u8], kernel: &Btf<'a>) -> Result<Self, BtfError> {
        Self::parse_from(bytes, kernel.starts.len() as u32 + 1, kernel.strings)
    }

    fn parse_from(bytes: &'a [u8], first: u32, kernel_strings: &'a [u8]) -> Result<Self, BtfError> {
        let magic = bytes.get(..2).ok_or(BtfError::Truncated)?;
        if u16::from_le_bytes([magic[0], magic[1]]) != MAGIC {
            return Err(BtfError::Magic);
        }
        let length = word(bytes, 4)? as usize;
        if length < HEADER {
            return Err(BtfError::Truncated);
        }
        let section = |at: usize| -> Result<&'a [u8], BtfError> {
            let start = length.checked_add(word(bytes, at)? as usize);
            let start = start.ok_or(BtfError::Truncated)?;
            let end = start.checked_add(word(bytes, at + 4)? as usize);
            bytes.get(start..end.ok_or(BtfError::Truncated)?).ok_or(BtfError::Truncated)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut btf = Self { types, strings, starts: Vec::new(), first, kernel_strings };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<(), BtfError> {
        let mut at = 0;
        while at < self.types.len() {
            if self.starts.len() == TYPES_MAX {
                return Err(BtfError::TooMany);
            }
            let found = self.read(at)?;
            let body = match found.kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => found.members * 12,
                kind::ENUM | kind::FUNC_PROTO => found.members * 8,
                kind::PTR..=kind::TYPE_TAG => 0,
                other => return Err(BtfError::Kind(other)),
            };
            self.starts.push(at as u32);
            at = found.body + body;
        }
        if at == self.types.len() { Ok(()) } else { Err(BtfError::Truncated) }
    }

    fn read(&self, at: usize) -> Result<Type, BtfError> {
        let info = word(self.types, at + 4)?;
        Ok(Type {
            kind: (info >> 24) & 0x1f,
            members: (info & 0xffff) as usize,
            flagged: info >> 31 != 0,
            name: word(self.types, at)?,
            target: word(self.types, at + 8)?,
            body: at + COMMON,
        })
    }

    fn by_id(&self, id: u32) -> Option<Type> {
        let start = *self.starts.get(id.checked_sub(self.first)? as usize)?;
        self.read(start as usize).ok()
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let offset = offset as usize;
        let rest = match offset.checked_sub(self.kernel_strings.len()) {
            Some(own) => self.strings.get(own..),
            None => self.kernel_strings.get(offset..),
        };
        let rest = rest.unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn named(&self, name: &'a str, wanted: u32) -> impl Iterator<Item = Type> {
        self.starts
            .iter()
            .filter_map(|start| self.read(*start as usize).ok())
            .filter(move |found| found.kind == wanted && self.is_named(found.name, name))
    }

    /// Returns a type file with the wanted functions alone. They have the numbers that they have
    /// here: each other type before the last of them is there without its name and its contents,
    /// which are most of a kernel's types.
    pub fn functions(&self, wanted: &HashSet<&str>) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), vec![0]);
        let mut last = 0;
        for start in &self.starts {
            let function = self.read(*start as usize).ok().filter(|t| t.kind == kind::FUNC);
            let name = function.and_then(|function| self.text(function.name));
            let (name, kind) = match name.filter(|name| wanted.contains(name)) {
                Some(text) => {
                    let at = strings.len() as u32;
                    strings.extend_from_slice(text.as_bytes());
                    strings.push(0);
                    last = types.len() + COMMON;
                    (at, kind::FUNC)
                }
                None => (0, kind::FWD),
            };
            [name, kind << 24, 0].iter().for_each(|word| types.extend(word.to_le_bytes()));
        }
        types.truncate(last);
        let lengths = [HEADER, 0, types.len(), types.len(), strings.len()];
        let mut file = MAGIC.to_le_bytes().to_vec();
        file.extend([VERSION, 0]);
        lengths.iter().for_each(|length| file.extend((*length as u32).to_le_bytes()));
        file.extend(types);
        file.extend(strings);
        file
    }

    fn text(&self, offset: u32) -> Option<&'a str> {
        let rest = self.strings.get(offset as usize..)?;
        let name = rest.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(name).ok()
    }

    /// Returns the offset in bytes of `path`, such as `f_path.dentry`, inside a structure. Members
    /// of structures and unions without a name count as the outer structure's.
    pub fn offset(&self, structure: &'a str, path: &str) -> Option<u32> {
        let mut left = MEMBERS_MAX;
        self.named(structure, kind::STRUCT).find_map(|outer| self.walk(outer, path, &mut left))
    }

    fn walk(&self, mut outer: Type, path: &str, left: &mut usize) -> Option<u32> {
        let mut bits = 0_u32;
        for name in path.split('.') {
            let (offset, target) = self.member(&outer, name, 0, left)?;
            bits = bits.checked_add(offset)?;
            outer = self.resolve(target).unwrap_or(Type { kind: 0, members: 0, ..outer });
        }
        // A bit field that does not start on a byte cannot be read as one.
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// Returns a member's offset in bits and its type.
    fn member(
        &self,
        outer: &Type,
        name: &str,
        depth: usize,
        left: &mut usize,
    ) -> Option<(u32, u32)> {
        if depth == DEPTH_MAX || !matches!(outer.kind, kind::STRUCT | kind::UNION) {
            return None;
        }
        for index in 0..outer.members {
            *left = left.checked_sub(1)?;
            let at = outer.body + index * 12;
            let (text, target) = (word(self.types, at).ok()?, word(self.types, at + 4).ok()?);
            let mut offset = word(self.types, at + 8).ok()?;
            if outer.flagged {
                offset &= 0x00ff_ffff;
            }
            if self.is_named(text, name) {
                return Some((offset, target));
            }
            if self.is_named(text, "")
                && let Some(inner) = self.resolve(target)
                && let Some((deeper, target)) = self.member(&inner, name, depth + 1, left)
            {
                return Some((offset.checked_add(deeper)?, target));
            }
        }
        None
    }

    /// Follows typedefs and modifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..DEPTH_MAX {
            let found = self.by_id(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.target;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Returns how many arguments a tracepoint passes; its type starts with one more, the data of
    /// whoever attached.
    pub fn tracepoint_arguments(&self, typedef: &'a str) -> Option<usize> {
        let pointer = self.named(typedef, kind::TYPEDEF).find_map(|t| self.resolve(t.target))?;
        let prototype = self.resolve(pointer.target)?;
        (pointer.kind == kind::PTR && prototype.kind == kind::FUNC_PROTO)
            .then(|| prototype.members.checked_sub(1))
            .flatten()
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, BtfError> {
    let end = at.checked_add(4).ok_or(BtfError::Truncated)?;
    let four = bytes.get(at..end).ok_or(BtfError::Truncated)?;
    Ok(u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
}

#[cfg(test)]
mod tests;
