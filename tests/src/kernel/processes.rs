//! What is told of executed programs, compared with what the programs themselves know; programs
//! that hide; storms.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result};
use libtest_mimic::Trial;
use sensor::probe::Settings;
use sensor_abi::seen::Signal;

use super::watch::{Event, Exec, Watch, only};

mod deceived;
mod fields;
mod hidden;
mod pressure;
mod storms;
mod told;

/// Present on every system that trials run on, also as a link to busybox.
const TRUE: &str = "/bin/true";
const SHELL: &str = "/bin/sh";

pub fn trials() -> Vec<Trial> {
    let modules = [
        fields::trials(),
        deceived::trials(),
        hidden::trials(),
        pressure::trials(),
        storms::trials(),
        told::trials(),
    ];
    modules.into_iter().flatten().collect()
}

fn settings() -> Settings {
    only(&[Signal::Socket])
}

/// Runs a command to its end and returns its exec record.
fn exec_of(watch: &mut Watch, command: &mut Command) -> Result<Exec> {
    // cargo sets it, longer than a record may tell; a trial that sets it itself keeps it.
    if command.get_envs().all(|(name, _)| name != "LD_LIBRARY_PATH") {
        command.env_remove("LD_LIBRARY_PATH");
    }
    let mut child = command.spawn().with_context(|| format!("could not run {command:?}"))?;
    let id = child.id();
    child.wait()?;
    exec_by(watch, id)
}

/// Returns a process's first exec record.
fn exec_by(watch: &mut Watch, id: u32) -> Result<Exec> {
    watch.find("exec record", |event| match event {
        Event::Exec(exec) if exec.header.tgid == id => Some((**exec).clone()),
        _ => None,
    })
}

/// Copies the program somewhere, as an executable with these mode bits.
fn copy_of_true(to: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::copy(TRUE, to).with_context(|| format!("could not copy {TRUE}"))?;
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Returns where a program really is: on small systems nearly all of them are links.
fn resolved(program: &str) -> Result<Vec<u8>> {
    let path = std::fs::canonicalize(program)?;
    Ok(path.into_os_string().into_encoded_bytes())
}
