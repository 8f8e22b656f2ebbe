//! Names for maps and links in the BPF file system, so that they outlive this process: the programs
//! go on counting while it is away, and the next one reads what they counted.
//!
//! Below the sensor's own folder there is one for each version of the programs and their settings.
//! Programs of another version are let go: their maps may have another shape.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use nix::libc;
use tracing::warn;

use super::check;

/// `BPF_OBJ_PIN`.
const OBJ_PIN: libc::c_int = 6;
/// `BPF_OBJ_GET`.
const OBJ_GET: libc::c_int = 7;
/// `BPF_LINK_DETACH`.
const LINK_DETACH: libc::c_int = 34;

/// The part of `bpf_attr` that pinning uses.
#[repr(C)]
#[derive(Default)]
struct PinAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// The names of one version of the programs.
#[derive(Debug)]
pub(super) struct Pins {
    maps: PathBuf,
    links: PathBuf,
    /// Link id → its name.
    known: BTreeMap<u32, PathBuf>,
}

impl Pins {
    /// Makes the folders of a version, and removes those of others.
    pub(super) fn open(folder: &Path, version: &str) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for other in fs::read_dir(folder)?.flatten().filter(|e| e.file_name() != version) {
            remove_tree(&other.path());
        }
        let own = folder.join(version);
        let pins =
            Self { maps: own.join("maps"), links: own.join("links"), known: BTreeMap::new() };
        fs::create_dir_all(&pins.maps)?;
        fs::create_dir_all(&pins.links)?;
        Ok(pins)
    }

    /// Returns name and path of each map that an earlier process left.
    pub(super) fn left(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(&self.maps).into_iter().flatten().flatten();
        entries.filter_map(|e| Some((e.file_name().into_string().ok()?, e.path()))).collect()
    }

    /// Whether programs of an earlier process are attached.
    pub(super) fn has_links(&self) -> bool {
        fs::read_dir(&self.links).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Lets the programs of an earlier process go; returns how many links they had.
    pub(super) fn drop_links(&self) -> usize {
        let entries = fs::read_dir(&self.links).into_iter().flatten().flatten();
        let let_go = |entry: &fs::DirEntry| {
            // Without its name a link goes in a moment; an interface has to be free at once.
            detach(&entry.path());
            fs::remove_file(entry.path()).is_ok()
        };
        entries.filter(let_go).count()
    }

    /// Names all maps that have no name yet. The file system takes no dots: what has one belongs to
    /// one load of the programs alone.
    pub(super) fn keep_maps(&self, maps: &[(String, OwnedFd)]) -> io::Result<()> {
        for (name, map) in maps.iter().filter(|(name, _)| !name.contains('.')) {
            let path = self.maps.join(name);
            if !path.exists() {
                pin(map.as_raw_fd(), &path)?;
            }
        }
        Ok(())
    }

    /// Names all links that this process holds, and takes the names of those away that it no longer
    /// does.
    pub(super) fn keep_links(&mut self) {
        let held = check::links();
        for (id, descriptor) in &held {
            let path = self.links.join(id.to_string());
            if self.known.contains_key(id) {
                continue;
            }
            match pin(*descriptor, &path) {
                Ok(()) => drop(self.known.insert(*id, path)),
                Err(error) => warn!(%error, link = id, "a link will not outlive the loader"),
            }
        }
        self.known.retain(|id, path| held.contains_key(id) || fs::remove_file(path).is_err());
    }

    /// Takes all names away: nothing outlives this process.
    pub(super) fn remove(&self) {
        if let Some(own) = self.maps.parent() {
            remove_tree(own);
        }
    }
}

fn pin(descriptor: RawFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = PinAttributes {
        path: path.as_ptr().expose_provenance() as u64,
        descriptor: descriptor.cast_unsigned(),
        flags: 0,
    };
    // SAFETY: the attributes are what the command takes, and they and the path live through it.
    let answer = unsafe {
        libc::syscall(libc::SYS_bpf, OBJ_PIN, &raw mut attributes, size_of::<PinAttributes>())
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Detaches a link, if it is of a kind that can be.
fn detach(path: &Path) {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return };
    let mut get = PinAttributes {
        path: path.as_ptr().expose_provenance() as u64,
        ..PinAttributes::default()
    };
    // SAFETY: the attributes are what the command takes, and they and the path live through it.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw mut get, size_of::<PinAttributes>()) };
    let Ok(descriptor) = RawFd::try_from(descriptor) else { return };
    if descriptor < 0 {
        return;
    }
    // SAFETY: the kernel has just made it for this process, and nobody else knows it.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut which = link.as_raw_fd();
    // SAFETY: the command takes the number of a descriptor that lives through it.
    let _other_kinds =
        unsafe { libc::syscall(libc::SYS_bpf, LINK_DETACH, &raw mut which, size_of::<RawFd>()) };
}

/// Removes two levels of names and their folder. What cannot be removed stays attached, and says
/// so.
fn remove_tree(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        } else if let Err(error) = fs::remove_file(entry.path()) {
            warn!(path = %entry.path().display(), %error, "a name of the programs stays");
        }
    }
    if let Err(error) = fs::remove_dir(folder) {
        warn!(path = %folder.display(), %error, "a folder of the programs' names stays");
    }
}
