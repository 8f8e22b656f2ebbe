//! Skipping aloud: a test that cannot run here names its reason, and the reason is counted.
//!
//! `cargo xtask test` lists every skip with its reason above its last line, so that a run on a
//! smaller machine never looks like a full one.

use libtest_mimic::{Completion, Failed, Trial};

/// What a trial comes to: done, or not possible here for a reason.
pub type Outcome = Result<Completion, Failed>;

/// Ends a trial that cannot run here.
pub fn skip(reason: impl Into<String>) -> Outcome {
    Ok(Completion::ignored_with(reason.into()))
}

/// Ends a trial that ran to its end.
pub fn done() -> Outcome {
    Ok(Completion::Completed)
}

/// Makes a trial of a function that may skip itself; errors print with all their causes.
pub fn trial(
    name: &str,
    run: impl FnOnce() -> anyhow::Result<Completion> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}

/// Prints a skip of a plain `#[test]` in the form that `cargo xtask test` counts.
pub fn print_skip(test: &str, reason: &str) {
    println!("SKIP {test}: {reason}");
}

/// Says why a trial that needs root cannot run, or nothing when it can.
pub fn without_root() -> Option<&'static str> {
    (!nix::unistd::geteuid().is_root()).then_some("needs root: run it through `cargo xtask test`")
}
