//! Sakuramori's central brain: takes batches from sensors, finds what is wrong, tells people.
//!
//! # Reading order
//! [`app`] builds every part and ends it in order. Then the way of the data: [`ingest`] (QUIC,
//! identity, limits), [`journal`] (what is acknowledged is on disk), [`engine`] (the one owner of
//! all detection state), [`detect`] over [`record`] and [`window`] (pure), [`finding`] (one problem
//! each), [`board`] (findings as everyone else sees them), [`store`] (what is kept), [`notify`]
//! (who is told), [`api`] and [`console`] (what people see).
//!
//! Arrows point down that list: `detect`, `window`, `finding` and `record` know nothing of tokio,
//! quinn, axum, sled or the time of day.

#![forbid(unsafe_code)]

pub mod app;
pub mod cli;
pub mod config;

pub mod ca;
pub mod clock;
pub mod identity;
pub mod metrics;
pub mod rate;

pub mod ingest;
pub mod journal;

pub mod board;
pub mod engine;
pub mod fleet;

pub mod detect;
pub mod finding;
pub mod forecast;
pub mod intel;
pub mod policy;
pub mod record;
pub mod text;
pub mod window;

pub mod store;

pub mod notify;

pub mod api;
pub mod console;
