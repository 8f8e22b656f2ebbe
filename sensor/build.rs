//! Embeds the kernel programs into the sensor, or an empty file where no BPF toolchain is found.
//!
//! `core` has to be compiled for the BPF target, which takes a compiler with its exact library
//! source and `bpf-linker`. Without them everything else still builds, checks and tests; the sensor
//! then says at start that it has no kernel programs. `SAKURAMORI_BPF=require` makes that an error,
//! `AYA_BUILD_SKIP=1` asks for it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

/// Names the rustup toolchain to compile the kernel programs with.
const TOOLCHAIN: &str = "SAKURAMORI_BPF_TOOLCHAIN";
/// `require` refuses to build a sensor without kernel programs.
const MODE: &str = "SAKURAMORI_BPF";
/// The name that aya's own build helper uses for the same wish.
const SKIP: &str = "AYA_BUILD_SKIP";
/// Where the workspace names its own toolchain. That one is tried first: its LLVM is the linker's,
/// and what the verifier is given does not depend on the day.
const OWN: &str = "rust-toolchain.toml";
/// The toolchain that is tried next: one linked to the distribution's compiler.
const LINKED: &str = "bpf";
/// Tells the sensor which compiler its kernel programs are by.
const COMPILER: &str = "SAKURAMORI_BPF_COMPILER";
const PACKAGE: &str = "sensor-ebpf";
/// The LLVM that bpf-linker 0.10 loads at run time.
const LLVM_LIBRARIES: [&str; 2] = ["libLLVM.so.22", "libLLVM-22"];

struct Toolchain {
    name: String,
    sysroot: PathBuf,
    linker: PathBuf,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    for name in [TOOLCHAIN, MODE, SKIP] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("no manifest folder")?);
    let root = manifest.parent().context("the package is not in a workspace")?;
    for path in [OWN, "sensor-ebpf/src", "sensor-ebpf/Cargo.toml", "sensor-abi/src"] {
        println!("cargo:rerun-if-changed={}", root.join(path).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let object = PathBuf::from(env::var_os("OUT_DIR").context("no output folder")?).join(PACKAGE);
    let required = env::var_os(MODE).is_some_and(|mode| mode == "require");
    if !required && env::var_os(SKIP).is_some_and(|skip| skip == "1" || skip == "true") {
        return stub(&object, &format!("{SKIP} is set"));
    }
    match find(root) {
        Ok(toolchain) => build(&toolchain, root, &object),
        Err(missing) if required => bail!("{MODE}=require, but {missing}"),
        Err(missing) => stub(&object, &missing),
    }
}

fn stub(object: &Path, why: &str) -> Result<()> {
    println!(
        "cargo:warning=this sensor is built WITHOUT its kernel programs: {why}; \
         `cargo xtask setup` installs what is missing"
    );
    println!("cargo:rustc-env={COMPILER}=none");
    fs::write(object, []).context("could not write the empty object")
}

/// Finds a toolchain that can compile `core` for BPF, or says what is missing.
fn find(root: &Path) -> Result<Toolchain, String> {
    let candidates = match env::var(TOOLCHAIN) {
        Ok(chosen) => vec![chosen],
        Err(_) => own(root).into_iter().chain([LINKED.to_owned()]).collect(),
    };
    let linker = linker().ok_or("bpf-linker is neither in PATH nor in Cargo's bin folder")?;
    for name in &candidates {
        if let Some(sysroot) = sysroot(plain("rustup").args(["run", name, "rustc"]))
            && sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs").exists()
        {
            return Ok(Toolchain { name: name.clone(), sysroot, linker });
        }
    }
    Err(format!(
        "no rustup toolchain of {} has the library source (component rust-src)",
        candidates.join(", ")
    ))
}

/// Returns the toolchain of the workspace.
fn own(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join(OWN)).ok()?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = "))?;
    Some(channel.trim().trim_matches('"').to_owned())
}

/// Returns a compiler's release and that of its LLVM.
fn version(toolchain: &str) -> Option<String> {
    let output = plain("rustup").args(["run", toolchain, "rustc", "-vV"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let after = |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(format!("rustc {}, LLVM {}", after("release:")?, after("LLVM version:")?))
}

fn linker() -> Option<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from).or(home.map(|h| h.join(".cargo")));
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(cargo.map(|cargo| cargo.join("bin")));
    folders.into_iter().map(|folder| folder.join("bpf-linker")).find(|file| file.is_file())
}

/// A command without what the outer cargo sets for its own compiler.
fn plain(program: &str) -> Command {
    let mut command = Command::new(program);
    let keep = ["CARGO_HOME", "CARGO_NET_OFFLINE"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let outer = ["CARGO", "RUSTC", "RUSTDOC", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if outer && !keep.contains(&text.as_ref()) {
            command.env_remove(&name);
        }
    }
    command
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| PathBuf::from(text.trim()))
}

/// Compiles the kernel programs in a target folder of their own, because the outer cargo holds the
/// lock of the usual one; the folder is shared by all profiles, since the result is the same.
fn build(toolchain: &Toolchain, root: &Path, object: &Path) -> Result<()> {
    let target = object.ancestors().nth(5).context("unexpected output folder")?.join("bpf");
    let endian = env::var("CARGO_CFG_TARGET_ENDIAN").context("no byte order")?;
    let triple = if endian == "big" { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("no architecture")?;
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    let output = plain("rustup")
        .current_dir(root)
        .args(["run", &toolchain.name, "cargo", "build", "--release", "--locked"])
        .args(["-Z", "build-std=core", "--target", triple, "--package", PACKAGE])
        .args(["--features", "kernel", "--bins", "--target-dir"])
        .arg(&target)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("LD_LIBRARY_PATH", library_path(&toolchain.sysroot))
        .output()
        .context("could not run rustup")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        bail!(
            "the kernel programs do not build with toolchain {} \
             ({SKIP}=1 leaves them out):\n{text}",
            toolchain.name
        );
    }
    let version = version(&toolchain.name).context("the compiler does not tell its version")?;
    println!("cargo:rustc-env={COMPILER}={version}");
    let built = target.join(triple).join("release").join(PACKAGE);
    fs::copy(&built, object).with_context(|| format!("could not copy {}", built.display()))?;
    Ok(())
}

/// Folders where bpf-linker can find its LLVM: that of either compiler, if it is the right one.
fn library_path(toolchain: &Path) -> OsString {
    let outer = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let outer = sysroot(&mut Command::new(outer));
    let mut folders: Vec<PathBuf> = [Some(toolchain.to_owned()), outer]
        .into_iter()
        .flatten()
        .map(|sysroot| sysroot.join("lib"))
        .filter(|folder| has_llvm(folder))
        .collect();
    let inherited = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    folders
        .extend(env::split_paths(&inherited).filter(|folder| folder.as_os_str() != OsStr::new("")));
    env::join_paths(folders).unwrap_or(inherited)
}

fn has_llvm(folder: &Path) -> bool {
    fs::read_dir(folder).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        LLVM_LIBRARIES.iter().any(|library| name.to_string_lossy().starts_with(library))
    })
}
