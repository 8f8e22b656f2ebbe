//! What is in a guest: the trials' program, what it runs and needs, and a first process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::Archive;
use super::kernel::Kernel;
use super::module::{Module, Modules};
use crate::{build, shell};

/// Modules that the trials' interfaces, filters and file systems need; each brings those that it
/// depends on.
const NEEDED: [&str; 10] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "8021q",
    "vxlan",
    "ip_gre",
    "ip6_gre",
    "ipip",
    "tun",
    "overlay",
];
/// Programs of the host that trials run.
const PROGRAMS: [&str; 2] = ["ip", "true"];
/// A harmless module that nothing else loads, for the trial that loads one.
const SPARE: &str = "dummy";
/// Folders that the first process mounts something on.
const MOUNT_POINTS: [&str; 5] = ["proc", "sys", "dev", "tmp", "run"];
/// Guests have their programs and libraries below `/usr` only, as Debian has them.
pub(crate) const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];
/// The guest's first process.
const INIT: &str = include_str!("init.sh");

/// Makes a guest's file system and returns the file that the emulator takes.
pub fn build(kernel: &Kernel, name: &str, trials: &Path, options: &[String]) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for folder in MOUNT_POINTS {
        archive.folder(folder);
    }
    for name in MERGED {
        archive.folder(&format!("usr/{name}"));
        archive.link(name, &format!("usr/{name}"));
    }
    archive.file("init", INIT.as_bytes());
    archive.file("trials", &read(trials)?);
    archive.file("options", options.join("\n").as_bytes());
    add_libraries(&mut archive, trials)?;
    for name in PROGRAMS {
        let path = find(name)?;
        archive.file(&merged(&path), &read(&path)?);
        add_libraries(&mut archive, &path)?;
    }
    add_shell(&mut archive)?;
    add_modules(&mut archive, &kernel.modules)?;
    let word = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let name: String = name.chars().map(word).collect();
    let file = build::target_folder()?.join(format!("{}-{name}.initrd", kernel.package));
    fs::write(&file, archive.finish())
        .with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Finds a program of the host.
fn find(name: &str) -> Result<PathBuf> {
    let folders = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(Path::new);
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is in none of the system's folders"))
}

/// Where a file of the host is in a guest.
pub(crate) fn merged(path: &Path) -> String {
    let name = path.to_string_lossy();
    let name = name.trim_start_matches('/');
    match name.split('/').next() {
        Some(first) if MERGED.contains(&first) => format!("usr/{name}"),
        _ => name.to_owned(),
    }
}

/// Adds the shared libraries that a program is linked with, and the loader.
pub(crate) fn add_libraries(archive: &mut Archive, program: &Path) -> Result<()> {
    let list = shell::output(Command::new("ldd").arg(program))
        .with_context(|| format!("ldd cannot read {}", program.display()))?;
    // `name => /path (address)`, or `/path (address)` for the loader.
    let paths =
        list.lines().filter_map(|line| line.split_whitespace().find(|w| w.starts_with('/')));
    for path in paths {
        let name = merged(Path::new(path));
        if !archive.contains(&name) {
            archive.file(&name, &read(Path::new(path))?);
        }
    }
    Ok(())
}

/// Adds busybox under all its names but those that real programs have.
pub(crate) fn add_shell(archive: &mut Archive) -> Result<()> {
    let path = find("busybox")?;
    let names = shell::output(Command::new(&path).arg("--list")).context("busybox does not run")?;
    archive.file("usr/bin/busybox", &read(&path)?);
    // A dynamically linked busybox is as good with its libraries; ldd refuses a static one.
    let _is_static = add_libraries(archive, &path);
    for name in names.lines() {
        let taken = ["bin", "sbin"].map(|folder| format!("usr/{folder}/{name}"));
        if !taken.iter().any(|name| archive.contains(name)) {
            archive.link(&format!("usr/bin/{name}"), "busybox");
        }
    }
    Ok(())
}

/// Adds modules, numbered in the order of loading, and the spare one.
pub(crate) fn add_modules(archive: &mut Archive, folder: &Path) -> Result<()> {
    let modules = Modules::read(folder)?;
    let mut loaded: Vec<Module> = Vec::new();
    for name in NEEDED {
        modules.add(name, &mut loaded)?;
    }
    for (index, module) in loaded.iter().enumerate() {
        archive.file(&format!("modules/load/{index:02}-{}.ko", module.name), &module.content);
    }
    let mut spare = Vec::new();
    modules.add(SPARE, &mut spare)?;
    // One that is part of the kernel cannot be loaded; its trial then skips.
    if let [module] = &spare[..] {
        archive.file(&format!("modules/spare/{}.ko", module.name), &module.content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_libraries_go_below_usr() {
        let at = |path| merged(Path::new(path));
        assert_eq!(at("/lib64/ld-linux-x86-64.so.2"), "usr/lib64/ld-linux-x86-64.so.2");
        assert_eq!(at("/usr/bin/true"), "usr/bin/true");
        assert_eq!(at("/opt/lib/a.so"), "opt/lib/a.so");
    }
}
