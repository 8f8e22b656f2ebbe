//! The ABI between the kernel programs and the sensor.
//!
//! Everything that crosses the border from `sensor-ebpf` to `sensor` is defined here once: map keys
//! and values, ring-buffer records, globals set at load, and the packet parsing that the XDP
//! program and the capture replayer share. Only integers and byte arrays cross; enums are parsed on
//! arrival. Padding is a compile error (zerocopy), sizes are asserted. Both sides ship in one
//! binary, so there is no version here; the versioned border is the crate `wire`.
//!
//! Reading order: [`config`], [`fault`], [`flow`], [`sketch`], [`loss`], [`record`], [`seen`],
//! [`syscall`], [`usage`], [`parse`].

#![cfg_attr(not(test), no_std)]
#![deny(missing_docs)]

pub mod act;
pub mod activity;
pub mod call;
pub mod config;
pub mod fault;
pub mod file;
pub mod flow;
pub mod loss;
pub mod parse;
pub mod record;
pub mod seen;
pub mod sketch;
pub mod syscall;
pub mod tuning;
pub mod usage;
