//! Watched files: every act really done, by each way in which the programs can see it.

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor::probe::WayKind;
use sensor_abi::{activity::Act, loss::Loss, record::file::action, seen::Signal};

use self::{
    acts::ACTS,
    stage::{Stage, WAYS},
};
use super::{child, ia32, watch::unavailable};
use crate::{figure, skip::trial};

/// Starts a stage, or says why there is none by this way.
macro_rules! stage {
    ($way:expr) => {{
        if let Some(reason) = unavailable() {
            return Ok(Completion::ignored_with(reason));
        }
        match Stage::new($way)? {
            Ok(stage) => stage,
            Err(reason) => return Ok(Completion::ignored_with(reason)),
        }
    }};
}

mod acts;
mod cost;
mod evasions;
mod stage;

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, way) in WAYS {
        let mut add = |what: &str, run: fn(WayKind) -> Result<Completion>| {
            trials.push(trial(&format!("files::{what}_by_{name}"), move || run(*way)));
        };
        add("every_act_is_told", every_act);
        add("acts_by_the_32_bit_convention_are_told", by_32_bit);
        add("what_is_not_watched_makes_no_record", unwatched);
        add("acts_are_counted_for_every_file", counted);
        add("a_storm_is_delivered_or_counted_as_lost", storm);
        add("a_live_change_loses_nothing", live_change);
        add("a_path_that_changes_while_it_is_opened", evasions::stalled);
    }
    trials.push(trial("files::cost_of_an_unwatched_open", cost::unwatched_open));
    trials
}

fn every_act(way: WayKind) -> Result<Completion> {
    let mut stage = stage!(way);
    let mut missed = Vec::new();
    for act in ACTS {
        if let Err(error) = stage.check(act) {
            missed.push(format!("{}: {error:#}", act.name));
        }
    }
    let (told, all) = (ACTS.len() - missed.len(), ACTS.len());
    for row in ["E-04", "E-05"] {
        figure::tell(row, format_args!("by {way:?}: {told} of {all} acts on files told"));
    }
    ensure!(missed.is_empty(), "{} of {}:\n{}", missed.len(), ACTS.len(), missed.join("\n"));
    Ok(Completion::Completed)
}

/// Opens for writing, changes the mode, renames and comes back, each by the 32-bit convention.
fn by_32_bit(way: WayKind) -> Result<Completion> {
    const OPEN: i32 = 5;
    const CHMOD: i32 = 15;
    const RENAME: i32 = 38;
    let mut stage = stage!(way);
    let (plain, moved) = (stage.c("watched/a"), stage.c("watched/by32"));
    let (child, status) = child::run(|| {
        let (Some(plain), Some(moved)) = (ia32::low(&plain), ia32::low(&moved)) else { return 2 };
        let Some(opened) = ia32::call(OPEN, [plain, libc::O_WRONLY as u32, 0]) else { return 2 };
        let others = [
            ia32::call(CHMOD, [plain, 0o640, 0]),
            ia32::call(RENAME, [plain, moved, 0]),
            ia32::call(RENAME, [moved, plain, 0]),
        ];
        i32::from(opened < 0 || others != [Some(0); 3])
    })?;
    if status != 0 {
        let why = "this kernel makes no 32-bit system calls";
        ensure!(status == 2 << 8 || status == libc::SIGSEGV, "the child failed: {status:#x}");
        return Ok(Completion::ignored_with(why));
    }
    let wanted = [action::OPEN_WRITE, action::MODE, action::RENAME, action::RENAME];
    let all = stage.files_of(child, |files| files.len() >= wanted.len())?;
    let told: Vec<u16> = all.iter().map(|file| file.fixed.action).collect();
    ensure!(told == wanted, "{told:?}, not {wanted:?}: {all:?}");
    ensure!(all[1].fixed.mode & 0o7777 == 0o640 && all[1].path.ends_with(b"/watched/a"), "{all:?}");
    ensure!(all[2].target.ends_with(b"/watched/by32"), "{all:?}");
    let figure = format!(
        "by {way:?}: {} of {} acts on files by the 32-bit convention told",
        told.len(),
        wanted.len()
    );
    figure::tell("E-15", figure);
    Ok(Completion::Completed)
}

fn unwatched(way: WayKind) -> Result<Completion> {
    let mut stage = stage!(way);
    let before = stage.seen();
    let (free, moved) = (stage.c("free/plain"), stage.c("free/moved"));
    let last = stage.c("watched/a");
    let (child, status) = child::run(move || {
        for _ in 0..100 {
            if acts::write(&free) || acts::rename(&free, &moved) || acts::unlink(&moved) {
                return 1;
            }
        }
        i32::from(acts::write(&last))
    })?;
    ensure!(status == 0, "the child failed: {status:#x}");
    let all = stage.files_of(child, |files| !files.is_empty())?;
    ensure!(all.len() == 1 && all[0].path.ends_with(b"/a"), "{all:?}");
    ensure!(stage.seen() - before == 1, "{} seen", stage.seen() - before);
    Ok(Completion::Completed)
}

fn counted(way: WayKind) -> Result<Completion> {
    const ROUNDS: u64 = 25;
    let mut stage = stage!(way);
    let (free, moved) = (stage.c("free/plain"), stage.c("free/moved"));
    let linked = stage.c("free/linked");
    let (child, status) = child::run(move || {
        for _ in 0..ROUNDS {
            let failed = acts::write(&free)
                || acts::chmod(&free)
                || acts::link(&free, &linked)
                || acts::rename(&free, &moved)
                || acts::unlink(&moved)
                || acts::unlink(&linked);
            if failed {
                return 1;
            }
        }
        0
    })?;
    ensure!(status == 0, "the child failed: {status:#x}");
    let counts = stage.counts_of(child);
    let of = |act: Act| counts[act as usize];
    ensure!(of(Act::WriteOpen) == ROUNDS, "{counts:?}");
    ensure!(of(Act::Create) == ROUNDS, "{counts:?}");
    ensure!(of(Act::Rename) == ROUNDS && of(Act::Unlink) == 2 * ROUNDS, "{counts:?}");
    ensure!(of(Act::Link) == ROUNDS && of(Act::Attribute) == ROUNDS, "{counts:?}");
    Ok(Completion::Completed)
}

fn storm(way: WayKind) -> Result<Completion> {
    const OPENS: u64 = 50_000;
    let mut stage = stage!(way);
    let (seen, lost) = (stage.seen(), stage.lost());
    let one = stage.c("watched/a");
    let names: Vec<_> = (0..200).map(|n| stage.c(&format!("watched/s{n}"))).collect();
    let (child, status) = child::run(move || {
        for round in 0..OPENS as usize {
            // Half of them on one file, half spread over many.
            let path = if round % 2 == 0 { &one } else { &names[round / 2 % names.len()] };
            if acts::write(path) {
                return 1;
            }
        }
        0
    })?;
    ensure!(status == 0, "the child failed: {status:#x}");
    let delivered = stage.files_of(child, |_| true)?.len() as u64;
    let (seen, lost) = (stage.seen() - seen, stage.lost_since(&lost));
    let all: u64 = lost.iter().sum();
    ensure!(seen == OPENS, "{seen} seen of {OPENS}");
    ensure!(delivered + all == seen, "{delivered} delivered, {lost:?} lost of {seen}");
    let throttled = lost[Loss::Throttled as usize];
    ensure!(throttled > 0 && delivered >= 1_000, "{delivered} delivered, {lost:?} lost");
    figure::tell(
        "S-05",
        format_args!(
            "by {way:?}: {seen} watched opens seen = {delivered} delivered + {throttled} throttled"
        ),
    );
    Ok(Completion::Completed)
}

fn live_change(way: WayKind) -> Result<Completion> {
    const OPENS: u64 = 20_000;
    let mut stage = stage!(way);
    let before = stage.seen();
    let path = stage.c("watched/a");
    let child = child::start(move || (0..OPENS).find(|_| acts::write(&path)).map_or(0, |_| 1))?;
    let (mut changes, mut status) = (0, 0);
    loop {
        stage.change(changes % 2 == 0)?;
        changes += 1;
        // SAFETY: a child of ours, and a status that lives through the call.
        let ended =
            unsafe { nix::libc::waitpid(child.as_raw(), &raw mut status, nix::libc::WNOHANG) };
        if ended != 0 {
            break;
        }
    }
    ensure!(status == 0, "the child failed: {status:#x}");
    let seen = stage.seen() - before;
    ensure!(changes >= 4, "only {changes} changes while files were opened");
    ensure!(seen == OPENS, "{seen} of {OPENS} opens seen during {changes} changes");
    // What only the new set has is watched, what only the old one had is not.
    stage.change(true)?;
    let (other, gone) = (stage.c("other/x"), stage.c("single"));
    let (child, _) = child::run(move || i32::from(acts::write(&gone) || acts::write(&other)))?;
    let files = stage.files_of(child, |files| !files.is_empty())?;
    ensure!(files.len() == 1 && files[0].path.ends_with(b"/other/x"), "{files:?}");
    ensure!(files[0].fixed.action == action::CREATE, "{files:?}");
    Ok(Completion::Completed)
}

/// The signal of these trials.
const SIGNAL: Signal = Signal::File;
