//! Some rows of the catalogue acted out, and some benign twins; `cargo xtask eval runtime` has all.

use anyhow::{Result, ensure};
use tests::{fleet, runtime};

/// Each act is found under its type, nothing benign is thought to be bad, and nothing is left.
pub fn rows_are_found_and_twins_are_not() -> Result<()> {
    let label = "test-runtime";
    let options = runtime::Options { short: true, only: None, label: label.to_owned() };
    let report = runtime::run(&options)?;
    println!("runtime: {}", report.sums());
    ensure!(report.is_good(), "{}\n{}", report.sums(), report.json());
    let left = fleet::leftovers(label)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
