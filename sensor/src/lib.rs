//! Sakuramori's agent on each host: from the kernel programs' maps to batches that the brain has.
//!
//! # Reading order
//! The path of the data: [`probe`] attaches the programs, [`drain`] reads what they wrote,
//! [`collect`] does so on time, [`track`] says who did it (from [`process`], [`owner`], [`cgroup`],
//! [`container`], [`pod`], [`user`], [`hash`]), [`scan`] looks into files, [`convert`] turns the
//! kernel's records into the wire's, [`batch`] cuts them, [`spool`] keeps them, [`uplink`] sends
//! them. [`ledger`] and [`health`] count along the way.
//! [`app`] builds all of it; [`doctor`] and [`watch`] are the other commands.
#![deny(missing_docs)]

pub mod app;
pub mod cli;
pub mod config;
pub mod log;

pub mod loader;
pub mod privileged;
pub mod sandbox;

pub mod btf;
pub mod netns;
pub mod probe;

pub mod drain;

pub mod canary;
pub mod collect;
pub mod duty;
pub mod file;
pub mod holder;
pub mod polls;
pub mod throttled;

pub mod cgroup;
pub mod container;
pub mod hash;
pub mod owner;
pub mod pod;
pub mod process;
pub mod procfs;
pub mod scan;
pub mod sockets;
pub mod table;
pub mod track;
pub mod user;

pub mod host_file;
pub mod host_watch;
pub mod inventory;
pub mod login;

pub mod convert;
pub mod observation;
pub mod payload;

pub mod batch;
pub mod outbox;
pub mod spool;

pub mod backoff;
pub mod enrol;
pub mod frame;
pub mod identity;
pub mod join;
pub mod tuning;
pub mod uplink;

pub mod alive;
pub mod clock;
pub mod health;
pub mod host;
pub mod ledger;

pub mod doctor;
pub mod replay;
pub mod watch;

mod atomic_file;
pub mod escape;
pub mod memory;
mod pace;
mod systemd;
