//! What the transport between sensors and the brain costs.
//!
//! - [`mix`]: what hosts of a fleet tell in ordinary seconds, every signal among it.
//! - [`parcel`]: records as they travel, and the same for formats that others use.
//! - [`json`], [`protobuf`]: these formats.
//! - [`size`]: bytes of a record on the wire, and how fast batches are made and read.
//! - [`ingest`]: batches on disk, beside [`nats`].
//! - [`fleet`]: one brain and very many sensors, which are [`load`].
//! - [`herd`]: a fleet that loses its brain and comes back.
//! - [`restart`]: a brain that is started again with all that behind it.

pub mod fleet;
pub mod herd;
pub mod ingest;
mod journal;
pub mod json;
pub mod load;
pub mod mix;
pub mod nats;
pub mod parcel;
pub mod protobuf;
pub mod restart;
pub mod size;
