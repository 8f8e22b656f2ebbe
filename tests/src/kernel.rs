//! Trials against a running kernel: programs load, attach and report what happened.

use libtest_mimic::Trial;

/// Every kernel trial.
pub fn trials() -> Vec<Trial> {
    Vec::new()
}
