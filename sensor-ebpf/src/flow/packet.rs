//! Reads from a packet at XDP and at tc.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    EbpfContext,
    programs::{TcContext, XdpContext},
};
use sensor_abi::parse::cursor::{OFFSET_MAX, Packet};

use crate::kernel::bounded;

/// A packet at XDP: headers are in the linear part.
pub struct Arrived<'a>(pub &'a XdpContext);

impl Packet for Arrived<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        direct(self.0.data(), self.0.data_end(), offset)
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> usize {
        hidden(offset)
    }
}

impl EbpfContext for Arrived<'_> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// A packet at tc: headers may be in fragments of the buffer, which only a helper reads.
pub struct Buffer<'a>(pub &'a TcContext);

impl Packet for Buffer<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = direct(self.0.data(), self.0.data_end(), offset) {
            return Some(bytes);
        }
        self.0.load::<[u8; N]>(bounded::<{ OFFSET_MAX - 1 }>(offset)).ok()
    }

    #[inline(always)]
    fn at(&self, offset: usize) -> usize {
        hidden(offset)
    }
}

impl EbpfContext for Buffer<'_> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// Reads inside the packet's linear part. The mask changes nothing: the parser keeps offsets below
/// `OFFSET_MAX`; it shows the verifier that the sum cannot leave the packet's address range.
#[inline(always)]
fn direct<const N: usize>(data: usize, end: usize, offset: usize) -> Option<[u8; N]> {
    let start = data + bounded::<{ OFFSET_MAX - 1 }>(offset);
    if start + N > end {
        return None;
    }
    let mut bytes = [0; N];
    match N {
        2 => bytes.copy_from_slice(&load16(start).to_ne_bytes()),
        4 => bytes.copy_from_slice(&load32(start).to_ne_bytes()),
        16 => {
            for word in 0..4 {
                let part = load32(start + word * 4).to_ne_bytes();
                bytes[word * 4..word * 4 + 4].copy_from_slice(&part);
            }
        }
        // SAFETY: the bytes lie between `data` and `end`, which the kernel vouches for.
        _ => bytes = unsafe { *(start as *const [u8; N]) },
    }
    Some(bytes)
}

/// Loads two bytes at once: from an address that need not be even, the compiler would load each by
/// itself. Callers have checked that they lie inside the packet.
#[inline(always)]
fn load16(start: usize) -> u16 {
    let value: u64;
    // SAFETY: reads two bytes inside the packet, as callers promise.
    unsafe { asm!("{0} = *(u16 *)({1} + 0)", out(reg) value, in(reg) start, options(readonly)) };
    value as u16
}

/// As [`load16`], with four bytes.
#[inline(always)]
fn load32(start: usize) -> u32 {
    let value: u64;
    // SAFETY: reads four bytes inside the packet, as callers promise.
    unsafe { asm!("{0} = *(u32 *)({1} + 0)", out(reg) value, in(reg) start, options(readonly)) };
    value as u32
}

/// Swaps the bytes of an offset, which is below 65536, and swaps them back: the verifier does not
/// follow that, so that it knows the offset no longer. With constants it follows every way through
/// the headers by itself: 6.18 gave up on packets in tunnels after a million instructions.
#[inline(always)]
fn hidden(offset: usize) -> usize {
    let mut hidden = offset;
    // SAFETY: register-only instructions.
    unsafe {
        asm!("{0} = be16 {0}", "{0} = be16 {0}", inout(reg) hidden, options(nomem, nostack));
    }
    hidden
}
