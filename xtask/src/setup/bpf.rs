//! A compiler for the kernel programs: a toolchain that has the source of `core`, and a linker.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{setup, shell};

/// The linker's version; it needs the LLVM of the compiler that made the object.
const LINKER_VERSION: &str = "0.10.2";
/// What the sensor's build script looks for after a nightly toolchain.
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

/// Returns the first toolchain that can build `core`: a nightly, else Debian's.
fn toolchain() -> Option<&'static str> {
    ["nightly", LINKED_TOOLCHAIN].into_iter().find(|name| {
        let rustc =
            Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output();
        rustc.is_ok_and(|output| {
            let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/src/lib.rs");
            output.status.success() && source.is_file()
        })
    })
}

fn install_toolchain() -> Result<()> {
    let mut nightly = Command::new("timeout");
    nightly.args(["300", "rustup", "toolchain", "install", "nightly", "--profile", "minimal"]);
    nightly.args(["--component", "rust-src", "--no-self-update"]);
    if shell::must(&mut nightly).is_ok() && toolchain().is_some() {
        return Ok(());
    }
    eprintln!("  rustup has no nightly with rust-src here; taking the distribution's compiler");
    setup::install_packages(&PACKAGES)?;
    shell::must(Command::new("rustup").args(["toolchain", "link", LINKED_TOOLCHAIN, "/usr"]))?;
    if toolchain().is_none() {
        bail!(
            "no toolchain has the source of core; run `rustup component add rust-src` for nightly"
        );
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
