//! Looks into files with YARA rules, for a sensor that hands them over.
//!
//! It is a process of its own because it parses what intruders wrote, with much more code than the
//! sensor has: it gets open descriptors, and can open, connect to and execute nothing itself.
//!
//! # Reading order
//! [`rules`] (compile and match; the only file that names the engine), [`file`] (read a descriptor
//! within bounds), [`serve`] (question and answer), [`sandbox`], [`check`] (rules and their samples
//! in a folder, for whoever writes them).
#![deny(missing_docs)]

pub mod check;
pub mod file;
pub mod rules;
pub mod sandbox;
pub mod serve;
