//! Building everything that runs: the console first, since the brain embeds it.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result};

use crate::setup::{self, Need};
use crate::shell;

/// Builds all programs and returns the folder they are in.
pub fn run(release: bool) -> Result<PathBuf> {
    setup::ensure(&[Need::Build])?;
    console()?;
    shell::step("building the kernel programs, the sensor, the scanner and the brain", || {
        let mut build = shell::cargo();
        build.args(["build", "--locked", "--quiet", "-p", "sensor", "-p", "brain", "-p", "tests"]);
        build.args(["-p", "scanner"]);
        build.args(release.then_some("--release")).env("SAKURAMORI_BPF", "require");
        shell::must(&mut build)
    })?;
    Ok(target_folder()?.join(if release { "release" } else { "debug" }))
}

/// Builds the web console when its sources changed since the last build.
pub fn console() -> Result<()> {
    let folder = shell::root().join("brain/console");
    let state = console_state()?;
    let stamp = folder.join("dist/.built-from");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == state) {
        return Ok(());
    }
    shell::step("building the console", || {
        npm_packages()?;
        shell::must(npm().args(["run", "--silent", "build"]))?;
        fs::write(&stamp, &state).with_context(|| format!("failed to write {}", stamp.display()))
    })
}

/// Installs the console's packages as its lock file names them, unless they are there.
pub fn npm_packages() -> Result<()> {
    let folder = shell::root().join("brain/console");
    let read = |name: &str| fs::read(folder.join(name)).ok();
    // npm leaves a lock file of what it installed; it is older than ours when ours changed.
    let age = |name: &str| fs::metadata(folder.join(name)).and_then(|m| m.modified()).ok();
    let installed = age("node_modules/.package-lock.json");
    if read("package-lock.json").is_some() && installed > age("package-lock.json") {
        return Ok(());
    }
    shell::must(npm().args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))
}

/// An `npm` command in the console's folder.
pub fn npm() -> Command {
    let mut npm = shell::command("npm");
    npm.current_dir(shell::root().join("brain/console"));
    npm
}

/// The folder that Cargo builds into.
pub fn target_folder() -> Result<PathBuf> {
    let folder = env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(shell::root().join(folder))
}

/// Returns one line per source file with the hash of its content, as git computes it.
fn console_state() -> Result<String> {
    let mut list = shell::command("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "brain/console"]);
    let files = shell::output(&mut list).context("failed to list the console's files by git")?;
    let present: Vec<&str> =
        files.lines().filter(|file| shell::root().join(file).is_file()).collect();
    let hashes = shell::output(shell::command("git").arg("hash-object").arg("--").args(&present));
    let hashes = hashes.context("failed to hash the console's files by git")?;
    let lines = present.iter().zip(hashes.lines()).map(|(file, hash)| format!("{hash} {file}\n"));
    Ok(lines.collect())
}
