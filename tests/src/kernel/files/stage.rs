//! A folder with watched files, and a sensor's kernel side that watches them in one way.

use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt as _, net::UnixListener},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use sensor::{
    file::{Watched, normal},
    probe::{Settings, WayKind},
};
use sensor_abi::{
    activity::{Act, ActivityCounts},
    loss::Loss,
    record::file::flag,
    seen::Signal,
};
use tempfile::TempDir;

use super::{
    SIGNAL,
    acts::{Expected, Told},
};
use crate::kernel::{
    child,
    watch::{Event, File, Watch, only},
};

/// Every way, with the name that its trials have. What comes before it is avoided.
pub const WAYS: &[(&str, WayKind)] = &[
    ("lsm", WayKind::Lsm),
    ("fentry", WayKind::Fentry),
    ("kprobe", WayKind::Kprobe),
    ("call", WayKind::RawTracepoint),
];

pub struct Stage {
    pub watch: Watch,
    pub folder: PathBuf,
    /// Whether the programs know paths only as they are passed.
    pub racy: bool,
    _kept: (TempDir, UnixListener),
}

impl Stage {
    /// Prepares files, then watches them; the inner error says why this way cannot be had.
    pub fn new(way: WayKind) -> Result<Result<Self, String>> {
        let kept = tempfile::Builder::new().prefix("smk-files-").tempdir()?;
        let folder = kept.path().canonicalize()?;
        for name in ["watched", "watched/deep", "free", "free/mount", "other"] {
            fs::create_dir(folder.join(name))?;
        }
        for name in ["watched/a", "watched/deep/b", "secret", "single", "free/x"] {
            fs::write(folder.join(name), "content")?;
        }
        fs::hard_link(folder.join("watched/a"), folder.join("free/hard"))?;
        std::os::unix::fs::symlink("watched", folder.join("link"))?;
        let socket = UnixListener::bind(folder.join("docker.sock"))?;
        let avoid = WAYS.iter().map(|(_, kind)| *kind).take_while(|kind| *kind != way);
        let settings = Settings {
            avoid: avoid.collect(),
            files: watched(&folder, &["watched/", "single"])?,
            ..only(&[Signal::File])
        };
        let watch = Watch::start(&settings)?;
        let hook = watch.probes.report().iter().find(|hook| hook.name == "file");
        let hook = hook.context("no hook on files in the report")?;
        let attached = hook.attached.clone().unwrap_or_default();
        let name = match way {
            WayKind::Lsm => "lsm ",
            WayKind::Fentry => "fentry ",
            WayKind::Kprobe => "kprobe ",
            WayKind::RawTracepoint => "end of system call ",
            WayKind::Tracepoint => "tracepoint ",
        };
        if !attached.starts_with(name) {
            let why = hook.stands_in.as_ref().or(hook.error.as_ref());
            return Ok(Err(format!("this kernel cannot: {}", why.cloned().unwrap_or_default())));
        }
        let racy = way == WayKind::RawTracepoint;
        Ok(Ok(Self { watch, folder, racy, _kept: (kept, socket) }))
    }

    /// Watches another set, which has `watched/` in common with the first one.
    pub fn change(&mut self, to_other: bool) -> Result<()> {
        let names = if to_other { ["watched/", "other/"] } else { ["watched/", "single"] };
        let files = watched(&self.folder, &names)?;
        self.watch.probes.watch_files(&files).context("could not change the set")
    }

    /// A path of the stage for system calls.
    pub fn c(&self, name: &str) -> CString {
        let path = self.folder.join(name);
        CString::new(path.as_os_str().as_bytes()).expect("temporary folders have no NUL")
    }

    pub fn seen(&mut self) -> u64 {
        self.watch.drain.seen()[SIGNAL as usize]
    }

    /// Losses by reason.
    pub fn lost(&mut self) -> [u64; Loss::COUNT] {
        let all = self.watch.drain.lost();
        Loss::ALL.map(|loss| all[loss.slot(SIGNAL)])
    }

    pub fn lost_since(&mut self, before: &[u64; Loss::COUNT]) -> [u64; Loss::COUNT] {
        let mut lost = self.lost();
        lost.iter_mut().zip(before).for_each(|(now, before)| *now -= before);
        lost
    }

    /// Returns the file records of a process, in order, once `done` says that they are all there.
    pub fn files_of(
        &mut self,
        child: u32,
        mut done: impl FnMut(&[File]) -> bool,
    ) -> Result<Vec<File>> {
        let of = |events: &[Event]| -> Vec<File> {
            let file = |event: &Event| match event {
                Event::File(file) if file.fixed.header.tgid == child => Some((**file).clone()),
                _ => None,
            };
            events.iter().filter_map(file).collect()
        };
        let events = self.watch.until("file record", |events| done(&of(events)))?;
        Ok(of(&events))
    }

    /// Returns what was counted of a process.
    pub fn counts_of(&mut self, child: u32) -> ActivityCounts {
        let all = self.watch.drain.activity();
        let mut sums = [0; Act::COUNT];
        for (_, counts) in all.iter().filter(|(key, _)| key.tgid == child) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
        sums
    }

    /// Does an act in a child, and compares what is told of it.
    pub fn check(&mut self, act: &Expected) -> Result<()> {
        let paths = (act.paths)(self);
        let (child, status) = child::run(move || i32::from((act.act)(&paths)))?;
        ensure!(status == 0, "the act itself failed: {status:#x}");
        let told = act.told;
        let found =
            self.files_of(child, |files| files.iter().any(|f| f.fixed.action == told.action));
        let files = found.context(act.name)?;
        let Some(file) = files.iter().find(|file| file.fixed.action == told.action) else {
            bail!("told of other acts only: {files:?}")
        };
        self.compare(file, &told)
    }

    fn compare(&self, file: &File, told: &Told) -> Result<()> {
        let racy = file.fixed.flags & flag::RACY != 0;
        ensure!(self.racy || !racy, "a path that may be another: {file:?}");
        let plain = |path: &[u8]| if racy { normal(path) } else { path.to_vec() };
        // Links on the way are resolved but where only the passed path is known.
        let name = if racy { told.passed } else { told.path };
        let right = self.c(name).into_bytes();
        let path = plain(&file.path);
        ensure!(path == right, "path {} not {name}", path.escape_ascii());
        if let Some(target) = told.target {
            let right = match target.strip_prefix('=') {
                Some(content) => content.as_bytes().to_vec(),
                None => self.c(target).into_bytes(),
            };
            let found =
                if target.starts_with('=') { file.target.clone() } else { plain(&file.target) };
            ensure!(found == right, "target {} not {target}", found.escape_ascii());
        }
        ensure!((told.more)(&file.fixed), "{:?}", file.fixed);
        Ok(())
    }
}

/// The set that the trials watch: some paths for writing, one for reading, sockets by their name.
fn watched(folder: &std::path::Path, write: &[&str]) -> Result<Watched> {
    let at = |name: &str| format!("{}/{name}", folder.display());
    let write: Vec<String> = write.iter().map(|name| at(name)).collect();
    let sockets = ["**/docker.sock".to_owned()];
    Ok(Watched::new(Some(&write), Some(&[at("secret")]), Some(&sockets))?)
}
