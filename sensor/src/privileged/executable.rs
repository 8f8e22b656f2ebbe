//! Opens programs and scripts by the path under which a process sees them.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::protocol::{self, Request};
use super::{ProcLink, refused};

/// Bits of a mode that let anybody execute a file.
const EXECUTE: u32 = 0o111;

/// Opens the program or script that a process sees under a path, if it may be executed.
pub fn open(pid: u32, path: &[u8]) -> io::Result<File> {
    open_here(pid, path).or_else(|error| match refused(&error) {
        Some(loader) => {
            let request = Request::of(protocol::OPEN_PROGRAM, pid, 0);
            loader.descriptor_of(&request, path).map(File::from)
        }
        None => Err(error),
    })
}

/// Does so in this process. Links lead to where they lead for that process, never out of its root,
/// and nothing but a plain file is opened: opening a device or a pipe can have effects.
pub(crate) fn open_here(pid: u32, path: &[u8]) -> io::Result<File> {
    let root = File::options()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(ProcLink::Root.path(pid))?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found: OwnedFd = openat2(&root, Path::new(OsStr::from_bytes(path)), how)?;
    let found = File::from(found);
    let metadata = found.metadata()?;
    if !metadata.is_file() || metadata.mode() & EXECUTE == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENOEXEC));
    }
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn only_what_may_be_executed_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let open = |name: &str| open(std::process::id(), at(name).as_os_str().as_bytes());
        fs::write(at("script"), "#!/bin/sh").unwrap();
        let refused = open("script").unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ENOEXEC));
        fs::set_permissions(at("script"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink("script", at("link")).unwrap();
        let mut text = String::new();
        open("link").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "#!/bin/sh");
        assert_eq!(open("").unwrap_err().raw_os_error(), Some(libc::ENOEXEC), "a folder");
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(open("pipe").unwrap_err().raw_os_error(), Some(libc::ENOEXEC));
        assert_eq!(open("none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
