//! Sakuramori's agent on each host: from the kernel programs' maps to batches that the brain has.
//!
//! # Layout
//! The modules below stand in the order in which data passes them.
#![deny(missing_docs)]

pub mod btf;
pub mod netns;
pub mod probe;

pub mod drain;

pub mod clock;

pub mod cgroup;
pub mod procfs;
pub mod process;
pub mod user;

pub mod owner;

pub mod ledger;
pub mod observation;

pub mod batch;

pub mod spool;

pub mod backoff;

mod atomic_file;
pub mod escape;
