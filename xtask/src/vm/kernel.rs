//! A kernel from Debian's packages: found, downloaded and unpacked once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, ensure};

use crate::shell;

/// The cloud kernels have everything that the trials use, at a third of the usual size.
const FLAVOUR: &str = "-cloud-amd64";
const PREFIX: &str = "linux-image-";

/// An unpacked kernel package.
#[derive(Debug)]
pub struct Kernel {
    pub package: String,
    /// The bootable image.
    pub image: PathBuf,
    /// Folder of the modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// Finds the newest package of a version such as `6.1` and unpacks it into the cache.
    pub fn find(version: &str) -> Result<Self> {
        let cache = super::cache()?;
        fs::create_dir_all(&cache)
            .with_context(|| format!("failed to make {}", cache.display()))?;
        let package = offered(version).or_else(|| kept(&cache, version)).with_context(|| {
            format!("apt offers no package {PREFIX}{version}.*{FLAVOUR}: is the version right?")
        })?;
        let folder = cache.join(&package);
        if !folder.is_dir() {
            download(&package, &cache, &folder)?;
        }
        let release = package.strip_prefix(PREFIX).unwrap_or(&package);
        let image = folder.join("boot").join(format!("vmlinuz-{release}"));
        let modules = ["lib/modules", "usr/lib/modules"]
            .map(|place| folder.join(place).join(release))
            .into_iter()
            .find(|place| place.is_dir())
            .with_context(|| format!("{} has no modules", folder.display()))?;
        ensure!(image.is_file(), "{} is missing", image.display());
        Ok(Self { package, image, modules })
    }
}

/// The newest package that apt can download.
fn offered(version: &str) -> Option<String> {
    let find = || {
        let names = shell::output(Command::new("apt-cache").args(["pkgnames", PREFIX]))?;
        newest_first(names.lines(), version).into_iter().find(|package| is_offered(package))
    };
    find().or_else(|| {
        // A machine that never fetched its lists knows no package.
        shell::succeeds(shell::as_root("apt-get").args(["update", "-qq"])).ok()?;
        find()
    })
}

/// Names stay in apt's memory after their packages are gone; those have no candidate.
fn is_offered(package: &str) -> bool {
    let policy = shell::output(Command::new("apt-cache").args(["policy", package]));
    policy.is_some_and(|policy| {
        let candidate = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
        candidate.is_some_and(|version| version != "(none)")
    })
}

/// The newest package that an earlier run has left, for machines that are offline.
fn kept(cache: &Path, version: &str) -> Option<String> {
    let entries = fs::read_dir(cache).ok()?.filter_map(Result::ok);
    let names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    newest_first(names.iter().map(String::as_str), version).into_iter().next()
}

/// Picks the packages of a version and sorts them. `6.1` is no prefix of `6.12` here, and packages
/// of other kinds (debug information, unsigned images) end differently.
fn newest_first<'a>(names: impl Iterator<Item = &'a str>, version: &str) -> Vec<String> {
    let prefix = format!("{PREFIX}{version}.");
    let fits = |name: &&str| name.starts_with(&prefix) && name.ends_with(FLAVOUR);
    let mut packages: Vec<&str> = names.filter(fits).collect();
    packages.sort_by_key(|name| std::cmp::Reverse(numbers(name)));
    packages.into_iter().map(str::to_owned).collect()
}

/// The numbers in a name, in order: `6.1.0-56` is newer than `6.1.0-9`.
fn numbers(name: &str) -> Vec<u64> {
    let name = name.strip_suffix(FLAVOUR).unwrap_or(name);
    name.split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// Downloads and unpacks a package; the folder appears when it is complete.
fn download(package: &str, cache: &Path, folder: &Path) -> Result<()> {
    eprintln!("  downloading {package} …");
    let partial = cache.join(format!(".{package}.{}", process::id()));
    let outcome = unpack(package, &partial).and_then(|unpacked| {
        match fs::rename(&unpacked, folder) {
            // Another run was quicker, with the same package.
            Err(_) if folder.is_dir() => Ok(()),
            renamed => renamed.context("failed to keep the kernel"),
        }
    });
    fs::remove_dir_all(&partial).with_context(|| format!("{} stays behind", partial.display()))?;
    outcome.with_context(|| format!("failed to get {package}"))
}

fn unpack(package: &str, partial: &Path) -> Result<PathBuf> {
    fs::create_dir_all(partial)?;
    // As root, apt would download as a user that cannot write to root's folders.
    let mut apt = Command::new("apt-get");
    apt.current_dir(partial).args(["-qq", "-o", "APT::Sandbox::User=root", "download", package]);
    shell::must(apt.stdout(std::io::stderr()))?;
    let archive = fs::read_dir(partial)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get left no package")?;
    let unpacked = partial.join("unpacked");
    shell::must(Command::new("dpkg").arg("-x").args([&archive, &unpacked]))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_signed_image_of_the_version_comes_first() {
        let names = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64-unsigned",
            "linux-image-6.1.0-58-cloud-amd64-dbg",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
        ];
        let old = newest_first(names.into_iter(), "6.1");
        assert_eq!(old, [names[1], names[0]]);
        let new = newest_first(names.into_iter(), "6.12");
        assert_eq!(new, [names[4], names[5]]);
    }
}
