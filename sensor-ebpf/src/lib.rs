//! kernel programs
