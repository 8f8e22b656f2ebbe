//! Mounts in a mount namespace of their own, roots, and a cgroup's release agent.

use std::{
    ffi::{CStr, CString},
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Trial;
use nix::libc;
use sensor_abi::{
    act::{call_kind, flag, privilege as action},
    record::privilege::Mount,
};

use super::{
    super::{
        acts::{Lacking, counts, each_way, is_silent},
        child,
        watch::{Event, Watch},
    },
    actor, is,
};
use crate::{figure, skip::trial};

/// Room for the place where something is mounted.
const PLACE_LEN: usize = 128;
/// Where cgroups of version 1 are listed on the running kernel, if it has them.
const FILE_SYSTEMS: &str = "/proc/filesystems";

pub fn trials() -> Vec<Trial> {
    vec![
        trial("privilege::mounts_tell_source_place_and_type", || each_way("mount", mounts)),
        trial("privilege::mounts_by_the_new_calls_are_told", || each_way("mount", new_mounts)),
        trial("privilege::a_change_of_root_is_told", || each_way("mount", root)),
        trial("privilege::failing_mounts_hide_none_that_succeeds", || each_way("mount", hidden)),
        trial("privilege::a_release_agent_is_told", || each_way("release_agent", release_agent)),
    ]
}

fn mount_of(watch: &mut Watch, by: u32, action: u32, kind: u32) -> Result<Mount> {
    watch.find(&format!("act {action}, {kind} of {by}"), |event| match event {
        Event::Mount(mount) if is(&mount.act, by, action) && mount.act.kind == kind => {
            Some(**mount)
        }
        _ => None,
    })
}

fn c_path(path: &Path) -> Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Gives the child a mount namespace of its own, from which nothing spreads.
fn isolate() -> bool {
    let spread_not = libc::MS_REC | libc::MS_PRIVATE;
    let nothing = std::ptr::null();
    // SAFETY: strings that end with NUL, and no data.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(nothing, c"/".as_ptr(), nothing, spread_not, nothing.cast()) == 0
    }
}

fn mounts(watch: &mut Watch) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = c_path(folder.path())?;
    let mounter = actor(|| {
        if !isolate() {
            return 1;
        }
        let (source, kind) = (c"trial-source", c"tmpfs");
        // SAFETY: strings that end with NUL and outlive the calls; data may be missing.
        unsafe {
            let data = std::ptr::null();
            let flags = libc::MS_NOSUID;
            let mounted = libc::mount(source.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, data);
            let unmounted = libc::umount2(place.as_ptr(), libc::MNT_DETACH);
            i32::from(mounted != 0 || unmounted != 0) * 2
        }
    })?;
    let mut mounted = None;
    let mut unmounted = None;
    watch.until("mount and its end", |events| {
        let of = |wanted: u32, has_type: bool| {
            events.iter().find_map(|event| match event {
                Event::Mount(mount) if is(&mount.act, mounter, wanted) => {
                    (!has_type || mount.type_name[0] != 0).then_some(**mount)
                }
                _ => None,
            })
        };
        (mounted, unmounted) = (of(action::MOUNT, true), of(action::UNMOUNT, false));
        mounted.is_some() && unmounted.is_some()
    })?;
    let (mounted, unmounted) = (mounted.context("found")?, unmounted.context("found")?);
    ensure!(text(&mounted.name) == place.as_bytes(), "{}", mounted.name.escape_ascii());
    ensure!(text(&mounted.source) == b"trial-source", "{}", mounted.source.escape_ascii());
    ensure!(text(&mounted.type_name) == b"tmpfs", "{}", mounted.type_name.escape_ascii());
    ensure!(mounted.act.argument == libc::MS_NOSUID, "{:?}", mounted.act);
    ensure!(mounted.act.result == 0 && mounted.act.flags & flag::RACY != 0, "{:?}", mounted.act);
    ensure!(text(&unmounted.name) == place.as_bytes(), "{}", unmounted.name.escape_ascii());
    ensure!(unmounted.act.argument == libc::MNT_DETACH as u64, "{:?}", unmounted.act);
    let failing = actor(|| {
        // SAFETY: a string that ends with NUL.
        i32::from(unsafe { libc::umount2(c"/no/such/place".as_ptr(), 0) } == 0)
    })?;
    let failed = mount_of(watch, failing, action::UNMOUNT, call_kind::CLASSIC)?;
    ensure!(failed.act.result == -i64::from(libc::ENOENT), "{:?}", failed.act);
    let neighbour = actor(|| {
        let mut room = std::mem::MaybeUninit::<libc::statfs>::uninit();
        // SAFETY: a string that ends with NUL, and room for the answer.
        unsafe { libc::statfs(c"/".as_ptr(), room.as_mut_ptr()) }
    })?;
    is_silent(watch, neighbour)
}

fn new_mounts(watch: &mut Watch) -> Result<()> {
    /// `FSCONFIG_CMD_CREATE`, `MOVE_MOUNT_F_EMPTY_PATH` and `OPEN_TREE_CLONE`.
    const CREATE: u32 = 6;
    const EMPTY_PATH: u32 = 4;
    const CLONE: u32 = 1;
    let folder = tempfile::tempdir()?;
    let place = c_path(folder.path())?;
    let mounter = actor(|| {
        if !isolate() {
            return 1;
        }
        let none = std::ptr::null::<u8>();
        // SAFETY: strings that end with NUL and outlive the calls, and descriptors of this process.
        unsafe {
            let context = libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 0);
            if libc::syscall(libc::SYS_fsconfig, context, CREATE, none, none, 0) != 0 {
                return 2;
            }
            let mount = libc::syscall(libc::SYS_fsmount, context, 0, 0);
            let here = libc::AT_FDCWD;
            let (empty, to) = (c"".as_ptr(), place.as_ptr());
            let moved = libc::syscall(libc::SYS_move_mount, mount, empty, here, to, EMPTY_PATH);
            let tree = libc::syscall(libc::SYS_open_tree, here, to, CLONE);
            i32::from(mount < 0 || moved != 0 || tree < 0) * 3
        }
    })?;
    let mut told = Vec::new();
    watch.until("four calls", |events| {
        told = events
            .iter()
            .filter_map(|event| match event {
                Event::Mount(mount) if is(&mount.act, mounter, action::MOUNT) => Some(**mount),
                _ => None,
            })
            .filter(|mount| mount.act.kind != call_kind::CLASSIC)
            .collect();
        told.len() >= 4
    })?;
    let kinds: Vec<u32> = told.iter().map(|mount| mount.act.kind).collect();
    let order = [call_kind::OPEN, call_kind::DETACHED, call_kind::MOVE, call_kind::TREE];
    ensure!(kinds == order, "{kinds:?}");
    ensure!(text(&told[0].type_name) == b"tmpfs", "{}", told[0].type_name.escape_ascii());
    ensure!(text(&told[2].name) == place.as_bytes(), "{}", told[2].name.escape_ascii());
    ensure!(text(&told[3].source) == place.as_bytes(), "{}", told[3].source.escape_ascii());
    Ok(())
}

fn root(watch: &mut Watch) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let place = c_path(folder.path())?;
    let process = actor(|| {
        // SAFETY: strings that end with NUL; the child's own root. The second one fails: its places
        // are no mount points.
        unsafe {
            let changed = libc::chroot(place.as_ptr());
            libc::syscall(libc::SYS_pivot_root, c"/".as_ptr(), c"/old".as_ptr());
            changed
        }
    })?;
    let mut told = Vec::new();
    watch.until("two changes of the root", |events| {
        let of = |event: &Event| match event {
            Event::Mount(mount) if is(&mount.act, process, action::ROOT) => Some(**mount),
            _ => None,
        };
        told = events.iter().filter_map(of).collect();
        told.len() >= 2
    })?;
    ensure!(told[0].act.kind == call_kind::CHROOT && told[0].act.result == 0, "{:?}", told[0].act);
    ensure!(text(&told[0].name) == place.as_bytes(), "{}", told[0].name.escape_ascii());
    ensure!(told[1].act.kind == call_kind::CLASSIC && told[1].act.result < 0, "{:?}", told[1].act);
    ensure!(text(&told[1].source) == b"/old", "{}", told[1].source.escape_ascii());
    Ok(())
}

/// Fails to mount many times, and then succeeds out of the same memory.
fn hidden(watch: &mut Watch) -> Result<()> {
    const FAILING: u32 = 500;
    let folder = tempfile::tempdir()?;
    let (place, nowhere) = (c_path(folder.path())?, c"/no/such/place");
    ensure!(place.as_bytes().len() < PLACE_LEN, "{}", folder.path().display());
    watch.drain.acts();
    let mounter = actor(|| {
        if !isolate() {
            return 1;
        }
        let mut buffer = [0_u8; PLACE_LEN];
        let mut mount = |at: &CStr| {
            buffer[..at.count_bytes() + 1].copy_from_slice(at.to_bytes_with_nul());
            let kind = c"tmpfs".as_ptr();
            // SAFETY: strings that end with NUL and outlive the call; data may be missing.
            unsafe { libc::mount(kind, buffer.as_ptr().cast(), kind, 0, std::ptr::null()) }
        };
        let failed = (0..FAILING).filter(|_| mount(nowhere) != 0).count();
        i32::from(failed != FAILING as usize || mount(&place) != 0) * 2
    })?;
    let mut told = 0;
    watch.until("the mount that succeeds", |events| {
        let of = |event: &&Event| match event {
            Event::Mount(mount) => is(&mount.act, mounter, action::MOUNT),
            _ => false,
        };
        told = events.iter().filter(of).count() as u64;
        events.iter().filter(of).any(|event| match event {
            Event::Mount(mount) => mount.act.result == 0 && text(&mount.name) == place.as_bytes(),
            _ => false,
        })
    })?;
    let counted = counts(watch, mounter)[&action::MOUNT];
    figure::tell(
        "E-11",
        format_args!("{FAILING} mounts fail, then one succeeds: {told} told, {counted} counted"),
    );
    // The first one makes the namespace private.
    ensure!(told + counted == u64::from(FAILING) + 2, "{told} + {counted}");
    Ok(())
}

/// Writes the release agent of a hierarchy that only this trial has, in its own mount namespace.
fn release_agent(watch: &mut Watch) -> Result<()> {
    let known = fs::read_to_string(FILE_SYSTEMS).unwrap_or_default();
    if !known.lines().any(|line| line.ends_with("\tcgroup")) {
        return Err(Lacking("this kernel has no cgroups of version 1").into());
    }
    let folder = tempfile::tempdir()?;
    let place = c_path(folder.path())?;
    let agent = c_path(&folder.path().join("release_agent"))?;
    let options = CString::new(format!("none,name=trial{}", std::process::id()))?;
    let (writer, status) = child::run(|| {
        if !isolate() {
            return 1;
        }
        let content = b"/no/such/agent";
        // SAFETY: strings that end with NUL and outlive the calls; the content has its length.
        unsafe {
            let (kind, data) = (c"cgroup".as_ptr(), options.as_ptr().cast());
            if libc::mount(kind, place.as_ptr(), kind, 0, data) != 0 {
                return 2;
            }
            let file = libc::open(agent.as_ptr(), libc::O_WRONLY);
            let written = libc::write(file, content.as_ptr().cast(), content.len());
            libc::close(file);
            libc::umount2(place.as_ptr(), 0);
            i32::from(written < 0) * 3
        }
    })?;
    if libc::WEXITSTATUS(status) == 2 {
        return Err(Lacking("cgroups of version 1 cannot be mounted here").into());
    }
    ensure!(status == 0, "the child's work failed: {status:#x}");
    let mut content = None;
    watch.until("write to the release agent", |events| {
        content = events.iter().find_map(|event| match event {
            Event::Mount(mount) if is(&mount.act, writer, action::RELEASE_AGENT) => {
                Some(Some(mount.source))
            }
            Event::Privilege(record) if is(&record.act, writer, action::RELEASE_AGENT) => {
                Some(None)
            }
            _ => None,
        });
        content.is_some()
    })?;
    // The hook on the write has what was written; the one that stands in sees the opening.
    if let Some(Some(content)) = content {
        ensure!(text(&content) == b"/no/such/agent", "{}", content.escape_ascii());
    }
    Ok(())
}
