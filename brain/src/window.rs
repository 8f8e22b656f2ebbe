//! Bounded memory of what happened lately, for detectors: pure, and told the time.
//!
//! [`keyed`] holds state per key and lets go of what was used longest ago; [`recent`] holds the
//! latest distinct values; [`distinct`] counts distinct values, exactly while they are few;
//! [`rotating`] does so over a window.

pub mod distinct;
pub mod keyed;
pub mod recent;
pub mod rotating;
