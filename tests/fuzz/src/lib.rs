//! Everything that reads bytes from outside, given bytes that nobody would send in good faith.
//!
//! # Reading order
//! A [`target::Target`] takes any bytes and panics when a promise is broken: by the parser itself,
//! by a property that is asserted about what it says, or by how much memory it took ([`memory`]).
//! [`target`] lists them, [`seed`] makes the valid examples that fuzzing starts from, [`delivery`]
//! takes what was parsed through batch, frame and back. `cargo xtask fuzz` drives them with
//! libFuzzer; `fuzz-input` runs a single input.

#![deny(missing_docs)]

pub mod delivery;
pub mod memory;
pub mod seed;
pub mod target;
