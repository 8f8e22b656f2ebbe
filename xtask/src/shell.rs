//! Starting other programs: where from, as whom, and what to say when one fails.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The folder of the workspace that `cargo xtask` was called in; two checkouts may share a build
/// folder, and so this program.
pub fn root() -> PathBuf {
    let built_in = || env!("CARGO_MANIFEST_DIR").into();
    let own: PathBuf = env::var_os("CARGO_MANIFEST_DIR").map_or_else(built_in, PathBuf::from);
    own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
}

/// A command that runs in the workspace's folder.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// A `cargo` command of the toolchain that runs this program. What `cargo run` told this program of
/// its own package is taken away: build scripts watch these variables, and a build through here
/// would undo one by hand, and the other way round.
pub fn cargo() -> Command {
    let mut cargo = command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|own| text.starts_with(own)) {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Returns whether this program runs as root.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// A command that runs as root: directly, or through sudo, which asks for the password.
pub fn as_root(program: impl AsRef<OsStr>) -> Command {
    if is_root() {
        return command(program);
    }
    let mut sudo = command("sudo");
    sudo.arg("--preserve-env=PATH,SAKURAMORI_BINARIES,SAKURAMORI_TEST_MODULE").arg(program);
    sudo
}

/// Returns whether a program of this name can be started.
pub fn exists(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin".into(), "/sbin".into()]);
    folders.iter().any(|folder| folder.join(program).is_file())
}

/// Runs a command to its end and returns whether it succeeded.
pub fn succeeds(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("failed to start {program}"))?;
    Ok(status.success())
}

/// Runs a command to its end; an exit code other than 0 is an error that quotes the command. What
/// it prints is for people: our standard output belongs to the data that the user asked for.
pub fn must(command: &mut Command) -> Result<()> {
    if succeeds(command.stdout(io::stderr()))? {
        return Ok(());
    }
    bail!("`{}` failed; its own message is above", line(command))
}

/// Returns what a command prints, or nothing when it fails or is not there.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Says what starts, runs it, and says how long it took.
pub fn step<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("· {what}");
    let start = Instant::now();
    let result = run();
    let outcome = if result.is_ok() { "done" } else { "failed" };
    eprintln!("  {outcome} in {:.1} s", start.elapsed().as_secs_f32());
    result
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Folder of what is fetched or built once, kept between checkouts.
pub fn cache() -> Result<PathBuf> {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let folder = base.or_else(home).context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(folder.join("sakuramori"))
}
