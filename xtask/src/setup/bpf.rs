//! A compiler for the kernel programs: a toolchain that has the source of `core`, and a linker.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{setup, shell};

/// The linker's version; it needs the LLVM of the compiler that made the object.
const LINKER_VERSION: &str = "0.10.2";
/// What the sensor's build script looks for after the workspace's own toolchain.
const LINKED_TOOLCHAIN: &str = "bpf";
/// Debian's own compiler of a recent version, with the source of `core`.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Names what is missing to compile kernel programs.
pub fn missing() -> Vec<String> {
    let toolchain = toolchain().is_none().then(|| "a Rust toolchain with rust-src for eBPF".into());
    let linker = (!has_linker()).then(|| format!("bpf-linker {LINKER_VERSION}"));
    toolchain.into_iter().chain(linker).collect()
}

/// Installs what is missing.
pub fn ensure() -> Result<()> {
    if toolchain().is_none() {
        shell::step("setting up a Rust toolchain for eBPF", install_toolchain)?;
    }
    if !has_linker() {
        let what = format!("building bpf-linker {LINKER_VERSION} (about a minute)");
        shell::step(&what, install_linker)?;
    }
    Ok(())
}

/// Returns the first toolchain that can build `core`: the workspace's own, else Debian's.
fn toolchain() -> Option<String> {
    [own(), Some(LINKED_TOOLCHAIN.to_owned())].into_iter().flatten().find(|name| {
        let rustc =
            Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output();
        rustc.is_ok_and(|output| {
            let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
            output.status.success() && source.is_file()
        })
    })
}

/// Returns the toolchain that the workspace names.
fn own() -> Option<String> {
    let text = fs::read_to_string(shell::root().join("rust-toolchain.toml")).ok()?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = "))?;
    Some(channel.trim().trim_matches('"').to_owned())
}

fn install_toolchain() -> Result<()> {
    if let Some(own) = own() {
        let mut source = Command::new("timeout");
        source.args(["300", "rustup", "component", "add", "rust-src", "--toolchain", &own]);
        if shell::must(&mut source).is_ok() && toolchain().is_some() {
            return Ok(());
        }
    }
    eprintln!("  rustup does not reach the source of core; taking the distribution's compiler");
    setup::install_packages(&PACKAGES)?;
    shell::must(Command::new("rustup").args(["toolchain", "link", LINKED_TOOLCHAIN, "/usr"]))?;
    if toolchain().is_none() {
        bail!("no toolchain has the source of core; run `rustup component add rust-src`");
    }
    Ok(())
}

fn has_linker() -> bool {
    let version = shell::output(with_llvm(Command::new("bpf-linker").arg("--version")));
    version.is_some_and(|version| version.contains(LINKER_VERSION))
}

fn install_linker() -> Result<()> {
    let mut install = shell::cargo();
    install.args(["install", "bpf-linker", "--locked", "--version", LINKER_VERSION]);
    // A folder of its own: the target folder of this workspace is locked by the running cargo.
    install.env_remove("CARGO_TARGET_DIR");
    shell::must(with_llvm(&mut install))
}

/// Lets the linker find LLVM, which is in the library folder of the compiler.
fn with_llvm(command: &mut Command) -> &mut Command {
    let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]));
    command.env("LD_LIBRARY_PATH", format!("{}/lib", sysroot.unwrap_or_default()))
}
