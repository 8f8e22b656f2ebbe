//! An overlay for one thread alone, as a container has its file system.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use nix::{
    libc,
    mount::{MsFlags, mount},
};

/// What is missing to mount one; nothing when it can be.
pub fn missing() -> Result<Option<&'static str>> {
    let known = fs::read_to_string("/proc/filesystems")?;
    let is_known = known.lines().any(|line| line.ends_with("\toverlay"));
    Ok((!is_known).then_some("this kernel has no overlay file system"))
}

/// Returns whether the kernel tells where its inodes lie, without which layers are not known.
pub fn has_types() -> bool {
    let is_module = Path::new("/sys/module/overlay/initstate").exists();
    !is_module || Path::new("/sys/kernel/btf/overlay").exists()
}

/// Mounts an overlay that the calling thread alone sees, and that ends with it; `fill` puts files
/// into its lower layer. Returns where both layers are seen.
pub fn of_this_thread(place: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    // SAFETY: a plain system call that concerns this thread only.
    let unshared = unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) };
    ensure!(unshared == 0, "{}", io::Error::last_os_error());
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), place, Some("tmpfs"), MsFlags::empty(), none)?;
    for layer in ["lower", "upper", "work", "merged"] {
        fs::create_dir(place.join(layer))?;
    }
    fill(&place.join("lower"))?;
    let at = place.display();
    let options = format!("lowerdir={at}/lower,upperdir={at}/upper,workdir={at}/work");
    let merged = place.join("merged");
    mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(merged)
}
