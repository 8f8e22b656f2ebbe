//! The kernel programs, one file per signal.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod act;
mod activity;
mod call;
mod exec;
mod exit;
mod fault;
mod file;
mod flow;
mod fork;
mod kernel;
mod maps;
mod memory;
mod module;
mod opened;
mod path;
mod payload;
mod privilege;
mod ring;
mod scope;
mod socket;
mod stdio;
mod syscall;
mod task;
mod throttle;
mod tuning;
mod uring;
mod usage;

/// The kernel requires a GPL-compatible licence for the helpers that trace and read kernel memory.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A program that could panic must not load: the verifier rejects an endless loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
