//! The console in a real browser, in front of a real brain that has found a real attack.
//!
//! It needs root for the fleet, and Node and Chromium for the walk through the console's screens.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::{Arguments, Completion};
use tests::demo::{self, Narrator, stage::Stage};
use tests::skip::{self, trial};

/// Benign seconds before the attack: the console is looked at, not the detectors.
const BENIGN: Duration = Duration::from_secs(2);
/// Programs that the walk needs.
const TOOLS: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/env"];

fn main() -> ExitCode {
    let trials = vec![trial("browser::every_screen_in_both_themes", every_screen)];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn every_screen() -> Result<Completion> {
    if let Some(reason) = skip::without_root() {
        return Ok(Completion::ignored_with(reason));
    }
    if let Some(missing) = TOOLS.into_iter().find(|tool| !Path::new(tool).exists()) {
        return Ok(Completion::ignored_with(format!("{missing} is missing")));
    }
    let http = SocketAddr::from(([127, 0, 0, 1], 0));
    let narrator = Narrator::new();
    let mut stage = Stage::new("test-browser", http, &narrator)?;
    let problems = demo::play(&mut stage, BENIGN, &narrator)?;
    ensure!(problems.is_empty(), "the attack was not found as it should be: {problems:?}");
    walk(&stage)?;
    Ok(Completion::Completed)
}

/// Lets the console's own check visit every screen; screenshots stay in the build folder.
fn walk(stage: &Stage) -> Result<()> {
    let console = Path::new(env!("CARGO_MANIFEST_DIR")).join("../brain/console");
    let link = stage.brain.setup_link().context("the brain printed no set-up link")?;
    let base = format!("http://{}", stage.brain.http());
    let status = Command::new("npm")
        .args(["run", "--silent", "check:browser", "--", "--base", &base, "--setup", link, "--out"])
        .arg(screenshots()?)
        .current_dir(console)
        .status()
        .context("failed to start npm")?;
    ensure!(status.success(), "the walk through the console ended with {status}");
    Ok(())
}

/// Folder of the screenshots: `screenshots` beside the programs.
fn screenshots() -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the running program")?;
    let programs = own.parent().and_then(Path::parent).context("no build folder")?;
    let folder = programs.join("screenshots");
    std::fs::create_dir_all(&folder).context("failed to make the folder of screenshots")?;
    Ok(folder)
}
