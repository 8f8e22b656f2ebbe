//! sensor

pub mod probe;
pub mod drain;
