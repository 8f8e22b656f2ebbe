//! Where the programs under test are: beside the running one, as Cargo places them.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The sensor's program name.
pub const SENSOR: &str = "sakuramori-sensor";
/// The brain's program name.
pub const BRAIN: &str = "sakuramori-brain";
/// The scanner's program name.
pub const SCANNER: &str = "sakuramori-scanner";
/// The program that plays all benign and hostile roles of the fleet.
pub const ACTOR: &str = "actor";
/// The chaos trials and their sensors.
pub const CHAOS: &str = "chaos";
/// The demo itself, which the tests start like a user would.
pub const DEMO: &str = "demo";

/// Folder that holds the programs; set it when they do not lie beside the running one.
const FOLDER_VARIABLE: &str = "SAKURAMORI_BINARIES";

/// Finds a program by name in the build folder of the running one.
pub fn find(name: &str) -> Result<PathBuf> {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE) {
        let path = Path::new(&folder).join(name);
        return if path.is_file() { Ok(path) } else { bail!("{} is missing", path.display()) };
    }
    let own = env::current_exe().context("failed to find the running program")?;
    // A test binary lies in `deps/`, one folder below the programs.
    let beside = own.parent().map(|folder| folder.join(name));
    let above = own.parent().and_then(Path::parent).map(|folder| folder.join(name));
    beside
        .into_iter()
        .chain(above)
        .find(|path| path.is_file())
        .with_context(|| format!("the program {name} is not built: run `cargo xtask build` first"))
}
