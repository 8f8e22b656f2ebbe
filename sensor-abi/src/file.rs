//! How the kernel programs find out, at the cost of a few reads, whether a file is watched.
//!
//! Nearly no file is. So there are three questions, each dearer than the one before and asked only
//! when that one said "maybe": one bit for every name and inode on the way from the file up to the
//! root, an exact table of names and of inodes, and the prefixes of the whole path.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Ways in which a file is wanted, as bits.
pub mod access {
    /// Its content is read.
    pub const READ: u32 = 1 << 0;
    /// Its content, name, mode or owner is changed.
    pub const WRITE: u32 = 1 << 1;
    /// It is a socket that is connected to.
    pub const CONNECT: u32 = 1 << 2;
    /// It is renamed or removed, also together with what is below it.
    pub const MOVE: u32 = 1 << 3;
    /// All of them.
    pub const ALL: u32 = 0xf;
    /// Bits that each of them takes.
    pub const BITS: u32 = 4;
}

/// Where a name is in a path, as the shift of its accesses in a [`FileNameKey`]'s value.
pub mod place {
    /// The last name of a path. Its whole path has to begin with a watched prefix.
    pub const LEAF: u32 = 0;
    /// The name of a directory above. Likewise.
    pub const ABOVE: u32 = 8;
    /// Added to either: the name is enough for a record, and the sensor compares the path.
    pub const ANYWHERE: u32 = 16;
}

/// Words of the filter; 32 KiB, so that the thousand names and inodes of a large set are less than
/// two in a hundred of its slots.
pub const FILTER_WORDS: usize = 4096;
/// Slots of the filter, of [`access::BITS`] bits each.
const FILTER_SLOTS_BITS: u32 = 16;
const _: () = assert!(FILTER_WORDS * 64 == (1 << FILTER_SLOTS_BITS) * access::BITS as usize);

/// Longest prefix that can be watched: the kernel's tries take 256 bytes.
pub const PREFIX_MAX: usize = 248;

/// The accesses by which some name or inode is watched, one slot for each hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FileFilter {
    /// The slots.
    pub words: [u64; FILTER_WORDS],
}

/// A name, cut to eight bytes, and its whole length.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct FileNameKey {
    /// The first bytes as a number in the byte order of the machine, zero behind the end.
    pub begin: u64,
    /// Bytes of the whole name.
    pub length: u64,
}

/// An inode; its value has accesses to itself at [`place::LEAF`], to what is below at
/// [`place::ABOVE`].
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct FileInodeKey {
    /// Inode number.
    pub inode: u64,
    /// Device of its file system, as `super_block.s_dev` has it.
    pub dev: u64,
}

/// A prefix of a path. Exact paths end with NUL, directories with a slash.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FilePrefix {
    /// The bytes; how many is the trie's business.
    pub bytes: [u8; PREFIX_MAX],
}

/// Returns the filter's slot of a name.
#[inline(always)]
pub const fn name_slot(begin: u64, length: u64, above: bool) -> usize {
    mix(begin ^ (length << 48) ^ ((above as u64) << 63))
}

/// Returns the filter's slot of an inode.
#[inline(always)]
pub const fn inode_slot(inode: u64, above: bool) -> usize {
    mix(inode.rotate_left(20) ^ ((above as u64) << 62) ^ 0x00ff_00ff)
}

/// Spreads the bits (the multiplier is 2^64 divided by the golden ratio).
#[inline(always)]
const fn mix(value: u64) -> usize {
    let value = (value ^ (value >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value >> (64 - FILTER_SLOTS_BITS)) as usize
}

/// Returns a slot's word and its place in it.
#[inline(always)]
pub const fn slot_at(slot: usize) -> (usize, u32) {
    let per_word = 64 / access::BITS as usize;
    (slot / per_word % FILTER_WORDS, (slot % per_word) as u32 * access::BITS)
}

impl FileNameKey {
    /// Builds the key of a name.
    pub const fn new(name: &[u8]) -> Self {
        let mut begin = [0; 8];
        let mut at = 0;
        while at < name.len() && at < 8 {
            begin[at] = name[at];
            at += 1;
        }
        Self { begin: u64::from_ne_bytes(begin), length: name.len() as u64 }
    }
}

/// Numbers of the calls whose end is looked at where no better hook can be had; the sensor gives
/// each system call of the running architecture one of these.
pub mod call {
    /// Not one of them.
    pub const NONE: u8 = 0;
    /// `creat`, `openat2`: only the returned descriptor matters.
    pub const OPEN: u8 = 1;
    /// `rename(old, new)`.
    pub const RENAME: u8 = 2;
    /// `renameat(olddir, old, newdir, new)`, `renameat2`.
    pub const RENAMEAT: u8 = 3;
    /// `link(old, new)`.
    pub const LINK: u8 = 4;
    /// `linkat(olddir, old, newdir, new, flags)`.
    pub const LINKAT: u8 = 5;
    /// `symlink(content, path)`.
    pub const SYMLINK: u8 = 6;
    /// `symlinkat(content, dir, path)`.
    pub const SYMLINKAT: u8 = 7;
    /// `unlink(path)`, `rmdir`.
    pub const UNLINK: u8 = 8;
    /// `unlinkat(dir, path, flags)`.
    pub const UNLINKAT: u8 = 9;
    /// `chmod(path, mode)`.
    pub const CHMOD: u8 = 10;
    /// `fchmod(descriptor, mode)`.
    pub const FCHMOD: u8 = 11;
    /// `fchmodat(dir, path, mode)`, `fchmodat2`.
    pub const FCHMODAT: u8 = 12;
    /// `chown(path, user, group)`, `lchown`.
    pub const CHOWN: u8 = 13;
    /// `fchown(descriptor, user, group)`.
    pub const FCHOWN: u8 = 14;
    /// `fchownat(dir, path, user, group, flags)`.
    pub const FCHOWNAT: u8 = 15;
    /// `truncate(path, length)`.
    pub const TRUNCATE: u8 = 16;
    /// `ftruncate(descriptor, length)`.
    pub const FTRUNCATE: u8 = 17;
    /// `connect(descriptor, address, length)`.
    pub const CONNECT: u8 = 18;
    /// `open(path, flags)`.
    pub const OPEN_PATH: u8 = 19;
    /// `openat(dir, path, flags)`, `open_by_handle_at`.
    pub const OPENAT: u8 = 20;
}

/// Records that a cgroup may make at once, and how long each takes to be earned again: what an
/// upgrade of many packages makes is told, and a storm leaves most of the ring to others.
pub const BURST: u64 = 4096;
/// See [`BURST`]; some thousand a second.
pub const NS_PER_RECORD: u64 = 1_000_000;
/// The same for one file of a cgroup: a storm on one file leaves the cgroup its other records.
pub const BURST_OF_ONE: u64 = 128;
/// See [`BURST_OF_ONE`]; sixty-four a second.
pub const NS_PER_RECORD_OF_ONE: u64 = 15_625_000;
/// Buckets of both kinds together; the least used ones are forgotten, and full again.
pub const BUCKETS_MAX: usize = 4096;

#[cfg(feature = "user")]
macro_rules! pod {
    ($($t:ty),*) => {$(
        // SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
        unsafe impl aya::Pod for $t {}
    )*};
}
#[cfg(feature = "user")]
pod!(FileFilter, FileNameKey, FileInodeKey, FilePrefix);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_stay_inside_the_filter_and_spread() {
        let mut used = std::collections::HashSet::new();
        for number in 0..4_000_u64 {
            for above in [false, true] {
                for slot in [inode_slot(number + 131_072, above), name_slot(number, 8, above)] {
                    let (word, shift) = slot_at(slot);
                    assert!(word < FILTER_WORDS && shift <= 60, "{slot}");
                    used.insert(slot);
                }
            }
        }
        // 16 000 throws into 65 536 slots hit some 14 200 different ones by chance.
        assert!(used.len() > 13_800, "{}", used.len());
    }

    #[test]
    fn names_are_told_apart_by_begin_and_length() {
        assert_eq!(FileNameKey::new(b"shadow").length, 6);
        assert_ne!(FileNameKey::new(b"shadow"), FileNameKey::new(b"shadow-"));
        assert_eq!(FileNameKey::new(b"authorized_keys"), FileNameKey::new(b"authorizXXXXXXX"));
        assert_eq!(FileNameKey::new(b"a").begin, u64::from_ne_bytes(*b"a\0\0\0\0\0\0\0"));
    }
}
