//! The versioned protocol between sensors and the brain.
//!
//! This crate holds types, limits and the codec, and does no I/O. Bytes that arrive are hostile
//! until [`codec`] has decoded them and [`batch::Batch::check`] has found every index in range.
//!
//! # Reading order
//! [`limits`] (every maximum), [`text`] (the string table), [`record`] (one struct per signal),
//! [`batch`] (what a sensor sends), [`control`] (everything else that is said), `columns` (a batch
//! in few bytes), [`codec`] (frames).
//!
//! # What may change
//! [`VERSION`] names the meaning of all bytes behind a frame's header. Fields are never reordered
//! or reused within a version; a new field, variant or record needs a new version. A peer that
//! speaks a version other than ours is refused with a reason, never guessed at. How a body is
//! written is the frame's codec number: a new way gets a new number and an ALPN by which sensors
//! learn whether the brain knows it, and the old ones are read for good. `tests/golden.rs` keeps
//! the bytes of every version and codec that shipped.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod batch;
pub mod codec;
mod columns;
pub mod control;
pub mod limits;
pub mod record;
pub mod text;

/// Version of the protocol that this build speaks.
pub const VERSION: u16 = 1;

/// ALPN of the session between an enrolled sensor and the brain.
pub const ALPN_SESSION: &[u8] = b"sakuramori/1";

/// ALPN of a session whose brain takes batches as columns, and asks what the time is. A sensor
/// offers both; a brain of before answers with [`ALPN_SESSION`], and gets rows.
pub const ALPN_COLUMNS: &[u8] = b"sakuramori/1.1";

/// ALPN of enrolment, where a sensor has no certificate yet.
pub const ALPN_ENROL: &[u8] = b"sakuramori-enrol/1";

/// Name that the brain's server certificate carries, whatever address it is reached at. The sensor
/// trusts only the brain's own CA, so the name tells roles apart, not machines.
pub const BRAIN_NAME: &str = "brain.sakuramori.internal";

/// Prefix of the URI in a sensor certificate's subject alternative name; the sensor's id follows.
pub const SENSOR_URI: &str = "spiffe://sakuramori/sensor/";
