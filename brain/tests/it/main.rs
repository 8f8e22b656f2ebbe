//! The brain as a whole: real QUIC, real HTTP, real files, and sensors that misbehave.

mod alert;
mod api;
mod brain;
mod clock;
mod correlation;
mod policies;
mod refusal;
mod reload;
mod restart;
mod sensor;
mod settings;
