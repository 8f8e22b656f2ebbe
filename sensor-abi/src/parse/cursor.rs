//! Bounds-checked reads from a packet.

/// A packet that can be read at any offset without trusting its length.
pub trait Packet {
    /// Returns the `N` bytes at `offset`, or `None` when the packet ends before.
    ///
    /// Callers keep `offset` below [`OFFSET_MAX`]; the kernel side relies on it to show the
    /// verifier a bounded offset.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Returns the offset as it is. The kernel side hides from the verifier which one it is: the
    /// ways through the headers that end in the same place are then one state to it, not many.
    #[inline(always)]
    fn at(&self, offset: usize) -> usize {
        offset
    }
}

/// No header is looked for at or beyond this offset. A power of two, so that the kernel programs
/// can bound an offset with a mask; real header chains end below 200 bytes.
pub const OFFSET_MAX: usize = 2048;

/// A whole packet in memory, for the host.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Packet for Bytes<'_> {
    #[inline]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        self.0.get(offset..end)?.try_into().ok()
    }
}
