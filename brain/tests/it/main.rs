//! The brain as a whole: real QUIC, real HTTP, real files, and sensors that misbehave.

mod alert;
mod api;
mod brain;
mod clock;
mod correlation;
mod disk;
mod hostile;
mod peer;
mod policies;
mod power;
mod refusal;
mod reload;
mod restart;
mod restart_large;
mod sensor;
mod settings;
