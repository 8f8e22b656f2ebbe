//! What the hooks cost where nothing is watched.

use std::{ffi::CStr, fs, time::Instant};

use anyhow::{Result, ensure};
use libtest_mimic::Completion;
use sensor::probe::{SWITCHABLE, Settings, SyscallMode};
use sensor_abi::seen::Signal;

use crate::kernel::{
    child,
    watch::{Watch, only, unavailable},
};

/// Opens in one measurement.
const OPENS: u32 = 50_000;
/// Pairs of measurements, with and without the hooks.
const PAIRS: usize = 5;
/// A bound that only a mistake passes, also in a guest without hardware help: the figure itself is
/// printed.
const COST_MAX: u64 = 3;

/// Opens and closes an unwatched file in a child, which the programs do not leave out; returns the
/// nanoseconds that one pair of calls took.
fn measure(path: &CStr) -> Result<u64> {
    let (read, write) = nix::unistd::pipe()?;
    child::run(|| {
        let start = Instant::now();
        for _ in 0..OPENS {
            // SAFETY: a string that ends with NUL; the new descriptor is closed.
            unsafe { nix::libc::close(nix::libc::open(path.as_ptr(), nix::libc::O_RDONLY)) };
        }
        let taken = (start.elapsed().as_nanos() as u64 / u64::from(OPENS)).to_ne_bytes();
        i32::from(nix::unistd::write(&write, &taken).is_err())
    })?;
    let mut taken = [0; 8];
    nix::unistd::read(&read, &mut taken)?;
    Ok(u64::from_ne_bytes(taken))
}

pub fn unwatched_open() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("some/where/below");
    fs::create_dir_all(&path)?;
    fs::write(path.join("file"), "")?;
    let name = path.join("file").into_os_string().into_encoded_bytes();
    let name = std::ffi::CString::new(name)?;
    measure(&name)?;
    let all = Settings { syscalls: SyscallMode::Off, ..only(&SWITCHABLE) };
    for (what, settings) in [("files", only(&[Signal::File])), ("all signals", all)] {
        cost(what, &settings, &name)?;
    }
    Ok(Completion::Completed)
}

fn cost(what: &str, settings: &Settings, name: &CStr) -> Result<()> {
    let (mut alone, mut with, mut how) = (Vec::new(), Vec::new(), String::new());
    for _ in 0..PAIRS {
        alone.push(measure(name)?);
        let watch = Watch::start(settings)?;
        with.push(measure(name)?);
        let hook = watch.probes.report().iter().find(|hook| hook.name == "file");
        how = hook.and_then(|hook| hook.attached.clone()).unwrap_or_default();
    }
    let least = |all: &[u64]| all.iter().min().copied().unwrap_or_default();
    let added = least(&with).saturating_sub(least(&alone));
    let kind = how.split(' ').next().unwrap_or_default().to_owned();
    let alone_ns = least(&alone);
    println!("open and close: {alone_ns} ns alone, {added} ns more with {what} by {kind}");
    ensure!(added < COST_MAX * alone_ns, "{added} ns more: {alone:?} {with:?}");
    Ok(())
}
