//! Sakuramori's agent on each host: from the kernel programs' maps to batches that the brain has.
//!
//! # Layout
//! The modules below stand in the order in which data passes them.
#![deny(missing_docs)]

pub mod config;
pub mod host;
pub mod clock;

pub mod btf;
pub mod netns;
pub mod probe;

pub mod drain;
pub mod duty;
pub mod collect;

pub mod cgroup;
pub mod procfs;
pub mod user;
pub mod process;
pub mod owner;
pub mod track;

pub mod convert;
pub mod observation;
pub mod ledger;
pub mod health;

pub mod batch;
pub mod spool;
pub mod outbox;

pub mod backoff;

mod atomic_file;
pub mod escape;
