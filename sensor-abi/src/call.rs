//! Places of system calls in the table of programs that run when one has ended.

/// Most numbers that one calling convention has room for. x86-64 itself ends below 512; the x32
/// convention uses 512 to 547.
pub const NUMBERS: u32 = 1024;
/// Where calls by the 32-bit convention of x86 start.
pub const IA32: u32 = NUMBERS;
/// Places in the table.
pub const SLOTS: usize = 2 * NUMBERS as usize;
/// Marks a call by the x32 convention; its numbers below 512 mean the same as those of x86-64.
pub const X32_BIT: u32 = 0x4000_0000;
