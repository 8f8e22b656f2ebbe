//! A power cut: what has reached the disk is there afterwards, and nothing that only the kernel
//! knew. The brain's data is on a file system of its own in a file, of which a copy is what a disk
//! would hold at that moment; the brain stands still while the copy is made.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};

use crate::brain::Program;
use crate::sensor::{Session, enrol, fileless};

const EPOCH: u64 = 5;
const CUTS: usize = 5;

/// Batches between two cuts.
const BATCHES: u64 = 20;

const DISK_BYTES: u64 = 64 << 20;

/// Lines of a program that does not sync before it says that it has them.
const LINES: usize = 100;

/// A mounted file system in a file; unmounted with its guard.
struct Disk {
    place: PathBuf,
}

impl Disk {
    /// Makes an empty one; nothing where that is not permitted.
    fn make(image: &Path, place: &Path) -> Option<Self> {
        let file = std::fs::File::create(image).unwrap();
        file.set_len(DISK_BYTES).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.to_str()?])?;
        Self::mount(image, place)
    }

    fn mount(image: &Path, place: &Path) -> Option<Self> {
        std::fs::create_dir_all(place).unwrap();
        run("mount", &["-o", "loop", image.to_str()?, place.to_str()?])?;
        Some(Self { place: place.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy", self.place.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> Option<()> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then_some(())
}

/// Copies a disk while nothing is written to it by the brain.
fn cut(brain: &Program, image: &Path, copy: &Path) {
    let pid = nix::unistd::Pid::from_raw(brain.pid().cast_signed());
    kill(pid, Signal::SIGSTOP).unwrap();
    std::fs::copy(image, copy).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_everything_acknowledged_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let (image, copy) = (folder.path().join("disk"), folder.path().join("after"));
    let place = folder.path().join("mounted");
    let Some(disk) = Disk::make(&image, &place) else {
        println!("SKIP after_a_power_cut_everything_acknowledged_is_there: cannot mount a file");
        return;
    };
    let data = disk.place.join("data");
    let brain = Program::start(&data, &["--no-setup-link"]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    let (mut acknowledged, mut lost, mut lost_unsynced) = (0, 0, 0);
    for number in 0..CUTS {
        for seq in acknowledged + 1..=acknowledged + BATCHES {
            session.deliver(&fileless(EPOCH, seq, "x")).await;
        }
        acknowledged += BATCHES;
        // The known-bad run: a program on the same disk that takes a write for safe.
        let unsynced = format!("unsynced-{number}");
        let mut file = std::fs::File::create(disk.place.join(&unsynced)).unwrap();
        (0..LINES).for_each(|line| writeln!(file, "{line}").unwrap());
        cut(&brain, &image, &copy);

        let after = Disk::mount(&copy, &folder.path().join("mounted-after")).unwrap();
        let text = std::fs::read_to_string(after.place.join(&unsynced)).unwrap_or_default();
        lost_unsynced += LINES - text.lines().count();
        let again = Program::start(&after.place.join("data"), &["--no-setup-link"]);
        let there = Session::begin(again.access.quic, &identity, EPOCH).await.welcome.durable[0];
        lost += acknowledged.saturating_sub(there);
        again.kill();
    }
    brain.kill();
    println!(
        "figure B-03: {CUTS} power cuts, {acknowledged} batches acknowledged, {lost} lost; of {} \
         lines that were not synced {lost_unsynced} lost",
        CUTS * LINES
    );
    assert_eq!(lost, 0);
    assert!(lost_unsynced > 0, "the cut loses nothing, so it shows nothing");
}
