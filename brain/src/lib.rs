//! Sakuramori's central brain: takes batches from sensors, finds what is wrong, tells people.
//!
//! # Reading order
//! The way of the data: [`ingest`] (QUIC, identity, limits), [`journal`] (what is acknowledged is on
//! disk), [`engine`] (the one owner of all detection state), [`store`] (findings and everything else
//! that is kept), [`api`] and [`console`] (what people see), [`notify`] (who is told).
//! [`app`] builds all of it and ends it in order.

#![forbid(unsafe_code)]

pub mod app;
pub mod config;

pub mod ca;
pub mod clock;
pub mod identity;
pub mod metrics;

pub mod ingest;
pub mod journal;

pub mod engine;
pub mod fleet;

pub mod store;

pub mod api;
pub mod console;
pub mod notify;

pub mod cli;
