//! The Sigma engine beside independent ones: the same rules and the same events must give the same
//! verdicts.
//!
//! - [`rules`]: rule files, compiled by both engines.
//! - [`generate`]: events made from a rule, that match it or nearly do.
//! - [`differ`]: whether both say the same of them.
//! - [`real`]: events from material that others wrote.
//! - [`known`]: which differences are known, and why.
//! - [`bench`]: how fast they are, on the events of [`corpus`] and with the rules of [`vary`].

pub mod bench;
pub mod corpus;
pub mod differ;
pub mod generate;
pub mod known;
pub mod real;
pub mod rules;
pub mod vary;
