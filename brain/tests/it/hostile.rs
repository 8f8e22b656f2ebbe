//! Peers that mean harm, beside a sensor that does not: each is refused for a reason that is
//! counted, and the honest one waits no longer for its acknowledgements.
//!
//! A [`stage::Stage`] is a brain's program, its honest sensor, and a judgement of how long that one
//! waits while an attack goes on.

mod cut;
mod flood;
mod forged;
mod frames;
mod gaps;
mod half_open;
mod replay;
mod slow;
mod stage;
mod stranger;
mod version;
