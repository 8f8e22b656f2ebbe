//! Whether our Sigma engine says what an independent one says, of events made from real rules.
//!
//! The comparison is a program of the `sigma-peers` crate, so that other engines are built only
//! when they are asked for.

use std::path::Path;

use anyhow::Result;

use crate::shell;

/// Folders of rules below the material.
const FOLDERS: [&str; 2] = ["sigma-linux", "sigma-network"];

/// Compares and prints; `false` when something is not as it must be.
pub fn run(material: Option<&Path>, as_json: bool) -> Result<bool> {
    let default = shell::root().join("../shared/material");
    let material = material.unwrap_or(&default);
    let folders = FOLDERS.map(|folder| material.join(folder));
    let folders: Vec<_> = folders.into_iter().filter(|folder| folder.is_dir()).collect();
    let ours = shell::root().join("policies/sigma");
    if folders.is_empty() {
        eprintln!("skipped: no rules in {}; name a folder by --material", material.display());
    }
    let mut differ = shell::cargo();
    differ.args(["run", "--locked", "--quiet", "-p", "sigma-peers", "--bin", "sigma_differ", "--"]);
    differ.arg(ours).args(folders).args(as_json.then_some("--json"));
    if material.is_dir() {
        differ.arg("--material").arg(material);
    }
    shell::succeeds(&mut differ)
}
