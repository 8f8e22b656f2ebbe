//! Watched files that are touched, and watched unix sockets that are connected to.
//!
//! What is decided on is the file that the kernel found, never the string that a process passed;
//! only where no hook below the system calls can be had, see [`call`].

use aya_ebpf::{
    macros::{fentry, kprobe, lsm},
    programs::{FEntryContext, LsmContext, ProbeContext},
};
use sensor_abi::{
    activity::Act,
    file::access,
    loss::Loss,
    record::{
        exec_flag,
        file::{action, flag, matched},
    },
    seen::Signal,
};

use self::{place::Place, scratch::FileScratch};
use crate::{
    activity,
    exec::image::{OVERLAY_MAGIC, layer},
    fault,
    kernel::{current_task, field},
    scope,
};

mod call;
mod place;
mod scan;
pub mod scratch;
mod string;
pub mod submit;
mod walk;

/// Bits of `file.f_mode` (linux/fs.h). The first two are those of `access`.
mod mode {
    pub const WRITE_BIT: u32 = 1;
    pub const CREATED_BIT: u32 = 20;
    /// A file system opened it below another one, for a file that was reported there.
    pub const NOT_ACCOUNTED: u32 = 1 << 29;
}
const _: () = assert!(access::READ == 1 && access::WRITE == 1 << mode::WRITE_BIT);
const _: () = assert!(action::CREATE == 2 && action::OPEN_WRITE == 1 && action::OPEN_READ == 3);

/// `inode.i_mode` of a regular file, and the bits that say so.
const KIND: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;

/// What was done to a file, beside who did it and where the file is.
#[derive(Clone, Copy)]
pub struct Touch {
    action: u16,
    wanted: u32,
    flags: u32,
    open_flags: u32,
    mode: u32,
    uid: u32,
    gid: u32,
    error: u32,
}

/// The other path of an act that has two.
#[derive(Clone, Copy)]
enum Other {
    None,
    Place(Place),
    /// Address of a string of the kernel.
    Text(u64),
}

impl Touch {
    #[inline(always)]
    const fn new(action: u16, wanted: u32) -> Self {
        Self { action, wanted, flags: 0, open_flags: 0, mode: 0, uid: 0, gid: 0, error: 0 }
    }

    /// For hooks that ask whether something may be done.
    #[inline(always)]
    const fn before(action: u16, wanted: u32) -> Self {
        Self { flags: flag::RESULT_UNKNOWN, ..Self::new(action, wanted) }
    }
}

/// What a name's change, or the change of what hangs on it, touches.
const CHANGED: u32 = access::WRITE;
const MOVED: u32 = access::WRITE | access::MOVE;
/// A file that is renamed or linked can be read under its other name.
const RENAMED: u32 = access::READ | access::WRITE | access::MOVE;

/// A file is opened, whatever the system call or the request to io_uring was.
#[inline(always)]
fn open(file: u64) {
    opened(file, field!(file, file_flags => u32));
}

/// Numbers are computed without branches: the verifier would follow each through all that comes
/// after.
#[inline(always)]
fn opened(file: u64, flags: u32) {
    let mode = field!(file, file_mode => u32);
    if mode & mode::NOT_ACCOUNTED != 0 {
        return;
    }
    let writes = mode >> mode::WRITE_BIT & 1;
    let created = mode >> mode::CREATED_BIT & 1;
    let wanted = mode & (access::READ | access::WRITE) | created * access::WRITE;
    let touch = Touch {
        open_flags: flags,
        // `CREATE` when it is new, else `OPEN_WRITE` or `OPEN_READ`.
        ..Touch::new((3 - 2 * writes - created * (1_u32.wrapping_sub(2 * writes))) as u16, wanted)
    };
    touched(touch, Place::of_file(file), Other::None);
    if writes != 0 && is_regular(field!(file, file_inode => u64)) {
        activity::count(Act::WriteOpen);
    }
    if created != 0 {
        activity::count(Act::Create);
    }
}

#[inline(always)]
fn is_regular(inode: u64) -> bool {
    field!(inode, inode_mode => u16) & KIND == REGULAR
}

#[inline(always)]
fn rename(old_directory: u64, old: u64, new_directory: u64, new: u64) {
    activity::count(Act::Rename);
    let target = Other::Place(Place::in_directory(new_directory, new));
    let touch = Touch::before(action::RENAME, RENAMED);
    touched(touch, Place::in_directory(old_directory, old), target);
}

#[inline(always)]
fn unlink(directory: u64, dentry: u64) {
    activity::count(Act::Unlink);
    let place = Place::in_directory(directory, dentry);
    touched(Touch::before(action::UNLINK, MOVED), place, Other::None);
}

/// A link is made inside one mount, so the old path's mount is the new one's.
#[inline(always)]
fn link(old: u64, directory: u64, new: u64) {
    activity::count(Act::Link);
    let target = Other::Place(Place::in_directory(directory, new));
    let touch = Touch::before(action::LINK, RENAMED);
    touched(touch, Place::in_directory(directory, old), target);
}

#[inline(always)]
fn symlink(directory: u64, dentry: u64, content: u64) {
    activity::count(Act::Link);
    let place = Place::in_directory(directory, dentry);
    touched(Touch::before(action::SYMLINK, CHANGED), place, Other::Text(content));
}

#[inline(always)]
fn chmod(path: u64, mode: u64) {
    activity::count(Act::Attribute);
    let touch = Touch { mode: mode as u32 & 0o7777, ..Touch::before(action::MODE, CHANGED) };
    touched(touch, Place::of_path(path), Other::None);
}

/// Owners travel plus one, so that "does not change", which is all ones, becomes 0.
#[inline(always)]
fn chown(path: u64, uid: u64, gid: u64) {
    activity::count(Act::Attribute);
    let (uid, gid) = ((uid as u32).wrapping_add(1), (gid as u32).wrapping_add(1));
    let touch = Touch { uid, gid, ..Touch::before(action::OWNER, CHANGED) };
    touched(touch, Place::of_path(path), Other::None);
}

#[inline(always)]
fn truncate_path(path: u64) {
    touched(Touch::before(action::TRUNCATE, CHANGED), Place::of_path(path), Other::None);
}

#[inline(always)]
fn truncate_file(file: u64) {
    touched(Touch::before(action::TRUNCATE, CHANGED), Place::of_file(file), Other::None);
}

#[inline(always)]
fn connect_peer(peer: u64) {
    connect(peer, Touch::before(action::CONNECT, access::CONNECT));
}

/// A stream socket is connected to another one of this host, which has a path unless it is
/// abstract.
#[inline(always)]
fn connect(peer: u64, touch: Touch) {
    let place = Place {
        dentry: field!(peer, unix_path_dentry => u64),
        mount: field!(peer, unix_path_mnt => u64),
    };
    if place.dentry != 0 {
        touched(touch, place, Other::None);
    }
}

/// A file was mapped as code. One that an overlay did not have below, which is a container's image,
/// is told without being watched; a process's own program its execution tells.
#[inline(always)]
pub fn mapped(file: u64, flags: u32) {
    let inode = field!(file, file_inode => u64);
    let sb = field!(inode, inode_sb => u64);
    if field!(sb, sb_magic => u64) != OVERLAY_MAGIC || layer(inode) & exec_flag::UPPER_LAYER == 0 {
        return;
    }
    let mm = field!(current_task(), task_mm => u64);
    if field!(field!(mm, mm_exe_file => u64), file_inode => u64) == inode {
        return;
    }
    let Some(scratch) = scratch::take() else {
        fault::seen(Signal::File);
        fault::lost(Signal::File, Loss::ScratchMissing);
        return;
    };
    let place = Place::of_file(file);
    // SAFETY: fields of the room that was just taken.
    let (path, target) = unsafe { (&raw mut (*scratch).path, &raw mut (*scratch).target) };
    walk::walk(path, place, Place::root_of(current_task()));
    walk::clear(target);
    let touch = Touch { flags, ..Touch::new(action::MAP_CODE, access::READ) };
    submit::submit(scratch, &touch, Some(place), u32::from(matched::LAYER));
    scratch::give_back(scratch);
}

/// Makes a record when the file, or the other path, is watched.
#[inline(always)]
fn touched(touch: Touch, place: Place, other: Other) {
    let mut hits = scan::up(place, touch.wanted, false);
    if let Other::Place(other) = other {
        hits |= scan::up(other, touch.wanted, false);
    }
    if hits == 0 {
        return;
    }
    let Some(scratch) = scratch::take() else {
        fault::seen(Signal::File);
        fault::lost(Signal::File, Loss::ScratchMissing);
        return;
    };
    let root = Place::root_of(current_task());
    // SAFETY: fields of the room that was just taken.
    let (path, target) = unsafe { (&raw mut (*scratch).path, &raw mut (*scratch).target) };
    walk::walk(path, place, root);
    match other {
        Other::None => walk::clear(target),
        Other::Place(other) => walk::walk(target, other, root),
        Other::Text(address) => walk::copy(target, address),
    }
    let mut why = hits & u32::from(matched::NAME | matched::INODE);
    if hits & u32::from(matched::PREFIX) != 0 {
        let mut watched = by_prefix(scratch, path);
        if let Other::Place(_) = other {
            watched |= by_prefix(scratch, target);
        }
        if watched & touch.wanted != 0 {
            why |= u32::from(matched::PREFIX);
        }
    }
    if why != 0 {
        submit::submit(scratch, &touch, Some(place), why);
    }
    scratch::give_back(scratch);
}

/// Returns the accesses by which a path is watched, from the namespace's root or the process's own.
#[inline(always)]
fn by_prefix(scratch: *mut FileScratch, area: *mut walk::Area) -> u32 {
    // SAFETY: parts of the room that the caller took.
    let (key, start, root) = unsafe { (&raw mut (*scratch).key, (*area).start, (*area).root) };
    let mut watched = walk::prefixes(key, area, start);
    if root > start {
        watched |= walk::prefixes(key, area, root);
    }
    watched
}

/// Makes the three programs of a security hook, which call the same function: on the hook, on the
/// function that calls it, and on a breakpoint there.
macro_rules! hooks {
    ($($lsm:ident $fentry:ident $kprobe:ident = $handle:ident($($at:literal),*);)*) => {$(
        #[lsm]
        pub fn $lsm(ctx: LsmContext) -> i32 {
            if scope::task() {
                $handle($(ctx.arg::<u64>($at)),*);
            }
            0
        }

        #[fentry]
        pub fn $fentry(ctx: FEntryContext) -> i32 {
            if scope::task() {
                $handle($(ctx.arg::<u64>($at)),*);
            }
            0
        }

        #[kprobe]
        pub fn $kprobe(ctx: ProbeContext) -> u32 {
            if scope::task() {
                $handle($(ctx.arg::<u64>($at).unwrap_or(0)),*);
            }
            0
        }
    )*};
}

// match-proto: int security_file_open(struct file *file)
// match-proto: int security_path_rename(const struct path *old_dir, struct dentry *old_dentry,
// match-proto: int security_path_unlink(const struct path *dir, struct dentry *dentry)
// match-proto: int security_path_rmdir(const struct path *dir, struct dentry *dentry)
// match-proto: int security_path_link(struct dentry *old_dentry, const struct path *new_dir,
// match-proto: int security_path_symlink(const struct path *dir, struct dentry *dentry,
// match-proto: int security_path_chmod(const struct path *path, umode_t mode)
// match-proto: int security_path_chown(const struct path *path, kuid_t uid, kgid_t gid)
// match-proto: int security_path_truncate(const struct path *path)
// match-proto: int security_file_truncate(struct file *file)
// match-proto: int security_unix_stream_connect(struct sock *sock, struct sock *other,
hooks! {
    file_open_lsm file_open_fentry file_open_kprobe = open(0);
    file_rename_lsm file_rename_fentry file_rename_kprobe = rename(0, 1, 2, 3);
    file_unlink_lsm file_unlink_fentry file_unlink_kprobe = unlink(0, 1);
    file_rmdir_lsm file_rmdir_fentry file_rmdir_kprobe = unlink(0, 1);
    file_link_lsm file_link_fentry file_link_kprobe = link(0, 1, 2);
    file_symlink_lsm file_symlink_fentry file_symlink_kprobe = symlink(0, 1, 2);
    file_chmod_lsm file_chmod_fentry file_chmod_kprobe = chmod(0, 1);
    file_chown_lsm file_chown_fentry file_chown_kprobe = chown(0, 1, 2);
    file_truncate_lsm file_truncate_fentry file_truncate_kprobe = truncate_path(0);
    file_ftruncate_lsm file_ftruncate_fentry file_ftruncate_kprobe = truncate_file(0);
    file_connect_lsm file_connect_fentry file_connect_kprobe = connect_peer(1);
}
