//! Sakuramori's integration tests: real programs on a real kernel, watched by real sensors.
//!
//! # Reading order
//! [`skip`] (a test that cannot run here says why), [`figure`] (what trials measure),
//! [`binaries`] (the programs under test), [`interrupt`] (Ctrl-C ends a wait, so that everything
//! is cleaned up), [`web`] (a small HTTP client), [`fleet`] (hosts as namespaces and cgroups, a
//! brain, sensors, a webhook sink), [`hostile`] (a peer to be refused), [`demo`] (benign traffic,
//! the attack, what must be found), [`bench`] (what watching costs), [`kernel`] (the trials that
//! need a kernel of their own or root), [`release`] (which kernel it is), [`runtime`] (each row of
//! the catalogue acted out), [`chaos`] (packets lost, programs killed, disks full).

pub mod bench;
pub mod binaries;
pub mod chaos;
pub mod demo;
pub mod figure;
pub mod fleet;
pub mod hostile;
pub mod interrupt;
pub mod kernel;
pub mod release;
pub mod runtime;
pub mod skip;
pub mod web;
