//! The pure half of the kernel programs, tested on the host.
//!
//! What a program does to its counters is here; how it gets at packets, tasks and maps is in the
//! program files beside `main.rs`.

#![cfg_attr(not(test), no_std)]

pub mod bucket;
pub mod place;
pub mod tally;
