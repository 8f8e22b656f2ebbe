//! A sign of life in the state directory, for whoever asks from outside: a probe, a person.
//!
//! It says when the worker last went round its loop, in time since boot, which nobody sets back.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use crate::clock;

/// The file's name.
const FILE: &str = "alive";
/// Digits of the time, so that each sign takes the place of the one before.
const DIGITS: usize = 20;
const MODE: u32 = 0o600;

/// Where signs are left.
#[derive(Debug)]
pub struct Sign(File);

impl Sign {
    /// Opens the file in the state directory.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(MODE).custom_flags(libc::O_NOFOLLOW);
        options.open(state_dir.join(FILE)).map(Self)
    }

    /// Leaves a sign.
    pub fn give(&self) -> io::Result<()> {
        self.0.write_all_at(format!("{:0DIGITS$}\n", clock::boot_ns()).as_bytes(), 0)
    }
}

/// Says how long ago the worker gave a sign of life, and whether that is too long.
pub fn run(state_dir: &Path, max_age_s: u64) -> ExitCode {
    match age(state_dir) {
        Ok(age) if age.as_secs() <= max_age_s => {
            println!("alive, {:.1} s ago", age.as_secs_f32());
            return ExitCode::SUCCESS;
        }
        Ok(age) => eprintln!("sakuramori-sensor: the last sign of life is {} s old", age.as_secs()),
        Err(error) => eprintln!("sakuramori-sensor: {error}"),
    }
    ExitCode::FAILURE
}

/// Returns how long ago the last sign was left, or what is wrong with it.
pub fn age(state_dir: &Path) -> Result<Duration, String> {
    let path = state_dir.join(FILE);
    let shown = path.display();
    let file = File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
    let file = file.map_err(|error| format!("no sign of life in {shown}: {error}"))?;
    let mut text = [0; DIGITS];
    file.read_exact_at(&mut text, 0).map_err(|error| format!("{shown} is cut short: {error}"))?;
    let left_ns = str::from_utf8(&text).ok().and_then(|text| text.parse::<u64>().ok());
    let left_ns = left_ns.ok_or_else(|| format!("{shown} is no sign of life"))?;
    // One of an earlier boot may be from a later time of its own.
    let age_ns = clock::boot_ns().checked_sub(left_ns);
    age_ns.map(Duration::from_nanos).ok_or_else(|| format!("{shown} is from an earlier boot"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_young_and_anything_else_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(age(dir.path()).unwrap_err().contains("no sign of life"));
        let sign = Sign::open(dir.path()).unwrap();
        assert!(age(dir.path()).unwrap_err().contains("cut short"));
        sign.give().unwrap();
        sign.give().unwrap();
        assert!(age(dir.path()).unwrap() < Duration::from_secs(60));
        std::fs::write(dir.path().join(FILE), "x".repeat(DIGITS)).unwrap();
        assert!(age(dir.path()).unwrap_err().contains("is no sign"));
        std::fs::write(dir.path().join(FILE), "9".repeat(DIGITS - 1) + "\n").unwrap();
        assert!(age(dir.path()).is_err());
    }
}
