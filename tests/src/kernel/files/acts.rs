//! The acts: system calls on paths of the stage, and what has to be told of each.

use std::ffi::{CStr, CString};

use nix::libc;
use sensor_abi::record::file::{File, action, matched};

use super::stage::Stage;

/// What a record has to say.
#[derive(Clone, Copy)]
pub struct Told {
    pub action: u16,
    /// The resolved path, inside the stage.
    pub path: &'static str,
    /// The path as passed, where that is all there is.
    pub passed: &'static str,
    /// The second path; after `=` a text.
    pub target: Option<&'static str>,
    pub more: fn(&File) -> bool,
}

/// An act and what has to be told of it.
pub struct Expected {
    pub name: &'static str,
    /// Prepares the paths that the child needs; it must not allocate itself.
    pub paths: fn(&Stage) -> Vec<CString>,
    /// Returns whether it failed.
    pub act: fn(&[CString]) -> bool,
    pub told: Told,
}

const fn told(action: u16, path: &'static str) -> Told {
    Told { action, path, passed: path, target: None, more: |_| true }
}

/// `open_how` of openat2(2).
#[repr(C)]
struct How {
    flags: u64,
    mode: u64,
    resolve: u64,
}

fn open(path: &CStr, flags: i32) -> bool {
    open_at(libc::AT_FDCWD, path, flags)
}

fn open_at(directory: i32, path: &CStr, flags: i32) -> bool {
    // SAFETY: a string that ends with NUL; the new descriptor is closed.
    unsafe {
        let descriptor = libc::openat(directory, path.as_ptr(), flags, 0o644);
        descriptor < 0 || libc::close(descriptor) != 0
    }
}

fn directory(path: &CStr) -> i32 {
    // SAFETY: a string that ends with NUL.
    unsafe { libc::open(path.as_ptr(), libc::O_DIRECTORY | libc::O_RDONLY) }
}

/// Opens for writing, and creates.
pub fn write(path: &CStr) -> bool {
    open(path, libc::O_WRONLY | libc::O_CREAT)
}

pub fn rename(from: &CStr, to: &CStr) -> bool {
    // SAFETY: strings that end with NUL, here and below.
    unsafe { libc::rename(from.as_ptr(), to.as_ptr()) != 0 }
}

pub fn unlink(path: &CStr) -> bool {
    // SAFETY: as above.
    unsafe { libc::unlink(path.as_ptr()) != 0 }
}

pub fn link(from: &CStr, to: &CStr) -> bool {
    // SAFETY: as above.
    unsafe { libc::link(from.as_ptr(), to.as_ptr()) != 0 }
}

pub fn chmod(path: &CStr) -> bool {
    // SAFETY: as above.
    unsafe { libc::chmod(path.as_ptr(), 0o600) != 0 }
}

fn by_handle(path: &CStr, mount: &CStr) -> bool {
    #[repr(C)]
    struct Handle {
        head: libc::file_handle,
        room: [u8; 128],
    }
    // SAFETY: a handle with the room that it says, and strings that end with NUL.
    unsafe {
        let mut handle: Handle = std::mem::zeroed();
        handle.head.handle_bytes = 128;
        let mut id = 0;
        let at = libc::AT_FDCWD;
        let head = &raw mut handle.head;
        if libc::name_to_handle_at(at, path.as_ptr(), head, &raw mut id, 0) != 0 {
            return true;
        }
        libc::open_by_handle_at(directory(mount), head, libc::O_WRONLY) < 0
    }
}

fn bind_and_create(watched: &CStr, mount: &CStr, path: &CStr) -> bool {
    let (bind, private) = (libc::MS_BIND, libc::MS_REC | libc::MS_PRIVATE);
    let none = std::ptr::null();
    // SAFETY: strings that end with NUL, and null where mount(2) allows it.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) != 0
            || libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()) != 0
            || libc::mount(watched.as_ptr(), mount.as_ptr(), none, bind, none.cast()) != 0
            || write(path)
    }
}

fn connect(path: &CStr) -> bool {
    // SAFETY: an address that is zeroed, filled within its bounds, and lives through the call.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as u16;
        for (to, from) in address.sun_path.iter_mut().zip(path.to_bytes()) {
            *to = *from as libc::c_char;
        }
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        let length = size_of::<libc::sockaddr_un>() as u32;
        libc::connect(socket, (&raw const address).cast(), length) != 0
    }
}

macro_rules! acts {
    ($($name:literal ($($path:literal),*) |$p:ident| $act:expr => $told:expr;)*) => {
        &[$(Expected {
            name: $name,
            paths: |_stage| vec![$(path(_stage, $path)),*],
            act: |$p| $act,
            told: $told,
        }),*]
    };
}

/// A path of the stage, or after `=` a text as it is.
fn path(stage: &Stage, name: &str) -> CString {
    match name.split_once('=') {
        Some(("", text)) => CString::new(text).expect("no NUL"),
        Some((before, name)) => {
            let inside = stage.c(name).into_bytes();
            CString::new([before.as_bytes(), &inside].concat()).expect("no NUL")
        }
        None => stage.c(name),
    }
}

const WRITE: i32 = libc::O_WRONLY;

/// Every act. Their order matters where one needs what another one made.
pub const ACTS: &[Expected] = acts! {
    "open for writing" ("watched/a") |p| open(&p[0], WRITE)
        => told(action::OPEN_WRITE, "watched/a");
    "create" ("watched/new") |p| write(&p[0]) => told(action::CREATE, "watched/new");
    "read a secret" ("secret") |p| open(&p[0], libc::O_RDONLY) => told(action::OPEN_READ, "secret");
    "deep below" ("watched/deep/b") |p| open(&p[0], libc::O_RDWR)
        => told(action::OPEN_WRITE, "watched/deep/b");
    "a relative path" ("watched", "=./deep/../a") |p| {
        // SAFETY: a string that ends with NUL.
        (unsafe { libc::chdir(p[0].as_ptr()) }) != 0 || open(&p[1], WRITE)
    } => told(action::OPEN_WRITE, "watched/a");
    "from a directory's descriptor" ("free", "=../watched/a") |p| {
        open_at(directory(&p[0]), &p[1], WRITE)
    } => told(action::OPEN_WRITE, "watched/a");
    "openat2" ("watched/a") |p| {
        let how = How { flags: WRITE as u64, mode: 0, resolve: 0 };
        // SAFETY: a string that ends with NUL, and a structure that lives through the call.
        unsafe {
            let at = libc::AT_FDCWD;
            let size = size_of::<How>();
            libc::syscall(libc::SYS_openat2, at, p[0].as_ptr(), &raw const how, size) < 0
        }
    } => told(action::OPEN_WRITE, "watched/a");
    "open_by_handle_at" ("watched/deep/b", "free") |p| by_handle(&p[0], &p[1])
        => told(action::OPEN_WRITE, "watched/deep/b");
    "through a linked directory" ("link/a") |p| open(&p[0], WRITE)
        => told(action::OPEN_WRITE, "watched/a");
    "through a hard link" ("free/hard") |p| open(&p[0], WRITE) => Told {
        more: |file| file.matched & matched::INODE != 0,
        ..told(action::OPEN_WRITE, "free/hard")
    };
    "through a bind mount" ("watched", "free/mount", "free/mount/fresh") |p| {
        bind_and_create(&p[0], &p[1], &p[2])
    } => Told {
        more: |file| file.matched & matched::INODE != 0,
        ..told(action::CREATE, "free/mount/fresh")
    };
    "through the process's root link" ("/proc/self/root=watched/a") |p| open(&p[0], WRITE)
        => told(action::OPEN_WRITE, "watched/a");
    "inside another root" ("", "=/watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        (unsafe { libc::chroot(p[0].as_ptr()) }) != 0 || open(&p[1], WRITE)
    } => Told {
        more: |file| file.path_root_len > 0,
        ..told(action::OPEN_WRITE, "watched/a")
    };
    "cut while opened" ("watched/a") |p| open(&p[0], WRITE | libc::O_TRUNC) => Told {
        more: |file| file.open_flags & libc::O_TRUNC as u32 != 0,
        ..told(action::OPEN_WRITE, "watched/a")
    };
    "moved in" ("free/x", "watched/x") |p| rename(&p[0], &p[1]) => Told {
        target: Some("watched/x"),
        ..told(action::RENAME, "free/x")
    };
    "renamed as an editor does" ("watched/.a.swp", "watched/a") |p| {
        write(&p[0]) || rename(&p[0], &p[1])
    } => Told { target: Some("watched/a"), ..told(action::RENAME, "watched/.a.swp") };
    "renameat2 between descriptors" ("watched", "free", "=x", "=y") |p| {
        // SAFETY: strings that end with NUL.
        unsafe {
            let (from, to) = (directory(&p[0]), directory(&p[1]));
            let (old, new) = (p[2].as_ptr(), p[3].as_ptr());
            libc::syscall(libc::SYS_renameat2, from, old, to, new, 0) != 0
        }
    } => Told { target: Some("free/y"), ..told(action::RENAME, "watched/x") };
    "a directory above is renamed and comes back" ("watched", "gone") |p| {
        rename(&p[0], &p[1]) || rename(&p[1], &p[0])
    } => Told { target: Some("gone"), ..told(action::RENAME, "watched") };
    "linked" ("watched/a", "free/again") |p| link(&p[0], &p[1]) => Told {
        target: Some("free/again"),
        ..told(action::LINK, "watched/a")
    };
    "a link in the watched directory" ("watched/s", "=/content") |p| {
        // SAFETY: strings that end with NUL.
        unsafe { libc::symlink(p[1].as_ptr(), p[0].as_ptr()) != 0 }
    } => Told { target: Some("=/content"), ..told(action::SYMLINK, "watched/s") };
    "unlinked" ("watched/new") |p| unlink(&p[0]) => told(action::UNLINK, "watched/new");
    "unlinkat" ("watched", "=s") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::unlinkat(directory(&p[0]), p[1].as_ptr(), 0) != 0 }
    } => told(action::UNLINK, "watched/s");
    "mode" ("watched/a") |p| chmod(&p[0]) => Told {
        more: |file| file.mode & 0o7777 == 0o600,
        ..told(action::MODE, "watched/a")
    };
    "mode by descriptor" ("watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::fchmod(libc::open(p[0].as_ptr(), libc::O_RDONLY), 0o644) != 0 }
    } => Told { more: |file| file.mode & 0o7777 == 0o644, ..told(action::MODE, "watched/a") };
    "owner" ("watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::chown(p[0].as_ptr(), 12, u32::MAX) != 0 }
    } => Told { more: |file| (file.uid, file.gid) == (13, 0), ..told(action::OWNER, "watched/a") };
    "owner by descriptor" ("watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::fchown(libc::open(p[0].as_ptr(), libc::O_RDONLY), 0, 5) != 0 }
    } => Told { more: |file| (file.uid, file.gid) == (1, 6), ..told(action::OWNER, "watched/a") };
    "cut by path" ("watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::truncate(p[0].as_ptr(), 0) != 0 }
    } => told(action::TRUNCATE, "watched/a");
    "cut by descriptor" ("watched/a") |p| {
        // SAFETY: a string that ends with NUL.
        unsafe { libc::ftruncate(libc::open(p[0].as_ptr(), WRITE), 3) != 0 }
    } => told(action::TRUNCATE, "watched/a");
    "a watched socket" ("docker.sock") |p| connect(&p[0]) => told(action::CONNECT, "docker.sock");
};
