//! What needs privilege at run time, and how a process without any gets it.
//!
//! The sensor is two processes: the loader holds the capabilities, the worker has none. Code that
//! needs to look at another process calls the functions here. They look directly where that is
//! allowed; in the worker, what the kernel refuses is asked from the loader by a closed protocol:
//! a process number and which of a few things about it. A path leads to programs only.
//!
//! # Reading order
//! [`protocol`] (what may be asked), [`remote`] (the worker's end), [`executable`] and [`program`]
//! (files that somebody may execute, programs that are). The loader's end is
//! the module `loader`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use self::protocol::Request;
use self::remote::Remote;

pub mod executable;
pub mod program;
pub mod protocol;
pub mod remote;

/// Bytes read of any file in `/proc/PID`; a longer one is cut.
pub const FILE_MAX: usize = 64 * 1024;
/// Sockets told of one process; one with more has flows whose owner is learnt later.
pub const SOCKETS_MAX: usize = 8_000;
/// Processes told at once; on a host with more, those that are missing are looked up when seen.
pub const PROCESSES_MAX: usize = 16_000;
/// Descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 10_000;

/// The worker's way to the loader; nothing in a process that has the privileges itself.
static LOADER: OnceLock<Remote> = OnceLock::new();

macro_rules! members {
    ($(#[$doc:meta])* $name:ident { $($(#[$member:meta])* $variant:ident = $path:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$member])* $variant,)* }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            fn path(self, pid: u32) -> String {
                match self { $(Self::$variant => format!(concat!("/proc/{}/", $path), pid),)* }
            }
        }
    };
}

members! {
    /// A file of a process.
    ProcFile {
        /// Its state, parent and start.
        Stat = "stat",
        /// Its users and capabilities.
        Status = "status",
        /// Its arguments.
        Cmdline = "cmdline",
        /// Its cgroups.
        Cgroup = "cgroup",
        /// Its environment.
        Environ = "environ",
        /// The user that logged in.
        LoginUid = "loginuid",
        /// What is mounted in its namespace.
        MountInfo = "mountinfo",
    }
}

members! {
    /// A link of a process.
    ProcLink {
        /// Its executable.
        Exe = "exe",
        /// Its working directory.
        Cwd = "cwd",
        /// Its root directory.
        Root = "root",
        /// Its standard input, which may be a terminal.
        Stdin = "fd/0",
        /// Its network namespace.
        NetNamespace = "ns/net",
        /// Its mount namespace.
        MountNamespace = "ns/mnt",
        /// Its process id namespace.
        PidNamespace = "ns/pid",
        /// Its user namespace.
        UserNamespace = "ns/user",
    }
}

members! {
    /// A table of the sockets in a process's network namespace.
    NetTable {
        /// TCP over IPv4.
        Tcp = "net/tcp",
        /// TCP over IPv6.
        Tcp6 = "net/tcp6",
        /// UDP over IPv4.
        Udp = "net/udp",
        /// UDP over IPv6.
        Udp6 = "net/udp6",
    }
}

/// Makes this process ask the loader for what it may not do; works once.
pub fn use_loader(loader: Remote) {
    // A second call would mean two loaders, which nobody makes; the first one stays.
    let _ = LOADER.set(loader);
}

/// Returns the way to the loader, when this process has one.
pub fn loader() -> Option<&'static Remote> {
    LOADER.get()
}

/// Returns the ids of all processes.
pub fn processes() -> io::Result<Vec<u32>> {
    match loader() {
        // The worker may be shown its own only, and would not know.
        Some(loader) => loader.bytes(&Request::of(protocol::PROCESSES, 0, 0)).map(|bytes| {
            bytes.as_chunks::<4>().0.iter().map(|word| u32::from_ne_bytes(*word)).collect()
        }),
        None => processes_here(),
    }
}

/// Reads a file of a process, cut to [`FILE_MAX`].
pub fn read(pid: u32, file: ProcFile) -> io::Result<Vec<u8>> {
    read_here(pid, file).or_else(|error| match refused(&error) {
        Some(loader) => loader.bytes(&Request::of(protocol::READ, pid, file as u32)),
        None => Err(error),
    })
}

/// Reads where a link of a process leads.
pub fn link(pid: u32, link: ProcLink) -> io::Result<Vec<u8>> {
    link_here(pid, link).or_else(|error| match refused(&error) {
        Some(loader) => loader.bytes(&Request::of(protocol::LINK, pid, link as u32)),
        None => Err(error),
    })
}

/// Returns the inode number of a process's namespace; `None` when it cannot be told.
pub fn namespace(pid: u32, which: ProcLink) -> Option<u64> {
    let text = String::from_utf8(link(pid, which).ok()?).ok()?;
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

/// Opens the executable of a process for reading, also one that has no name any more.
pub fn open_exe(pid: u32) -> io::Result<File> {
    open_exe_here(pid).or_else(|error| match refused(&error) {
        Some(loader) => loader.descriptor(&Request::of(protocol::OPEN_EXE, pid, 0)).map(File::from),
        None => Err(error),
    })
}

/// Opens a table of sockets for reading.
pub fn open_table(pid: u32, table: NetTable) -> io::Result<File> {
    open_table_here(pid, table).or_else(|error| match refused(&error) {
        Some(loader) => {
            let request = Request::of(protocol::OPEN_TABLE, pid, table as u32);
            loader.descriptor(&request).map(File::from)
        }
        None => Err(error),
    })
}

/// Returns the inode numbers of the sockets that a process holds, at most [`SOCKETS_MAX`].
pub fn sockets(pid: u32) -> io::Result<Vec<u64>> {
    sockets_here(pid).or_else(|error| match refused(&error) {
        Some(loader) => {
            let bytes = loader.bytes(&Request::of(protocol::SOCKETS, pid, 0))?;
            let words = bytes.as_chunks::<8>().0;
            Ok(words.iter().map(|word| u64::from_ne_bytes(*word)).collect())
        }
        None => Err(error),
    })
}

/// Opens one of the logs that the configuration names, by its place in the list, or the file that
/// it was rotated to, by the low bits of its inode number; 0 stands for the log itself.
pub fn open_log(place: u32, rotated: u32, refusal: io::Error) -> io::Result<File> {
    match refused(&refusal) {
        Some(loader) => {
            loader.descriptor(&Request::of(protocol::OPEN_LOG, place, rotated)).map(File::from)
        }
        None => Err(refusal),
    }
}

/// Returns the loader when it may do what was refused here. Where processes of others are hidden,
/// they look as if they were not there.
pub(crate) fn refused(error: &io::Error) -> Option<&'static Remote> {
    let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::NotFound];
    kinds.contains(&error.kind()).then(loader).flatten()
}

pub(crate) fn processes_here() -> io::Result<Vec<u32>> {
    let entries = PathBuf::from("/proc").read_dir()?.flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(ids.take(PROCESSES_MAX).collect())
}

pub(crate) fn read_here(pid: u32, file: ProcFile) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(file.path(pid))?.take(FILE_MAX as u64).read_to_end(&mut content)?;
    Ok(content)
}

pub(crate) fn link_here(pid: u32, link: ProcLink) -> io::Result<Vec<u8>> {
    std::fs::read_link(link.path(pid)).map(|path| path.into_os_string().into_vec())
}

pub(crate) fn open_exe_here(pid: u32) -> io::Result<File> {
    File::open(ProcLink::Exe.path(pid))
}

pub(crate) fn open_table_here(pid: u32, table: NetTable) -> io::Result<File> {
    File::open(table.path(pid))
}

pub(crate) fn sockets_here(pid: u32) -> io::Result<Vec<u64>> {
    let folder = PathBuf::from(format!("/proc/{pid}/fd"));
    let links = folder.read_dir()?.flatten().take(DESCRIPTORS_MAX);
    let inode = |entry: std::fs::DirEntry| {
        let link = entry.path().read_link().ok()?.into_os_string().into_vec();
        let number = link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
        str::from_utf8(number).ok()?.parse().ok()
    };
    Ok(links.filter_map(inode).take(SOCKETS_MAX).collect())
}

/// What an answer may carry beside its bytes.
pub type Descriptors = Vec<OwnedFd>;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn this_process_is_looked_at() {
        let pid = std::process::id();
        assert!(processes().unwrap().contains(&pid));
        assert!(read(pid, ProcFile::Stat).unwrap().starts_with(pid.to_string().as_bytes()));
        let exe = link(pid, ProcLink::Exe).unwrap();
        assert_eq!(exe, std::env::current_exe().unwrap().into_os_string().into_vec());
        assert!(namespace(pid, ProcLink::NetNamespace).unwrap() > 0);
        assert!(open_exe(pid).unwrap().metadata().unwrap().len() > 0);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!sockets(pid).unwrap().is_empty());
        drop(listener);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_of_its_own() {
        let error = read(u32::MAX, ProcFile::Stat).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
