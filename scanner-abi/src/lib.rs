//! What the sensor and its scanner say to each other, over one socket of sequenced packets.
//!
//! The sensor asks, the scanner answers, one after the other. A file in question travels as an open
//! descriptor, never as a path: the scanner cannot open anything.
//!
//! # Reading order
//! [`packet`] (bytes and descriptors over a socket), [`message`] (what they mean).
#![deny(missing_docs)]

pub mod message;
pub mod packet;
