//! Figures that trials measure: one line each, so that the table in `tests/README.md` can be
//! compared with `cargo xtask test 2>&1 | grep '^figure'`.

use std::fmt::Display;

/// Prints what a trial has measured for a row of the table.
pub fn tell(row: &str, figure: impl Display) {
    println!("figure {row}: {figure}");
}

/// Returns a size that a trial takes from the environment for a longer run, or its usual one.
pub fn size(variable: &str, usual: u64) -> anyhow::Result<u64> {
    use anyhow::Context as _;
    match std::env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable} is {text:?}")),
        Err(_) => Ok(usual),
    }
}
