//! Log-ins from a real journald, in a mount namespace of its own.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use sensor::clock::ClockPair;
use sensor::login::follow::{Logins, Settings, Source};
use sensor::observation::Text;
use wire::record::{Login, login_action, login_flag};

use crate::skip::{self, trial};

const JOURNALD: &str = "/lib/systemd/systemd-journald";
const JOURNALCTL: &str = "/usr/bin/journalctl";
/// Where journald listens for what `syslog` sends.
const DEV_LOG: &str = "/run/systemd/journal/dev-log";
/// How long something that must happen may take.
const DEADLINE: Duration = Duration::from_secs(20);

pub fn trials() -> Vec<Trial> {
    vec![trial("logins::the_journal_is_followed_over_restarts", || {
        if let Some(reason) = skip::without_root() {
            return Ok(Completion::ignored_with(reason));
        }
        if ![JOURNALD, JOURNALCTL].iter().all(|program| Path::new(program).exists()) {
            return Ok(Completion::ignored_with("there is no journald on this machine"));
        }
        // The namespace is the thread's, and ends with it.
        let run = thread::spawn(followed).join();
        run.unwrap_or_else(|_| Err(anyhow::anyhow!("the trial panicked")))?;
        Ok(Completion::Completed)
    })]
}

/// A journald with folders of its own.
struct Journald(Child);

impl Journald {
    fn start() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).context("no mount namespace")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        for folder in ["/run/systemd", "/run/log"] {
            fs::create_dir_all(folder)?;
            mount(Some("none"), folder, Some("tmpfs"), MsFlags::empty(), none)?;
        }
        fs::create_dir_all("/run/systemd/journal")?;
        // Without this folder it writes to the one in /run, which is ours.
        if Path::new("/var/log/journal").exists() {
            mount(Some("none"), "/var/log", Some("tmpfs"), MsFlags::empty(), none)?;
        }
        let mut command = Command::new(JOURNALD);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("cannot start journald")?))
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        // It may have ended already; waiting for it then returns at once.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until so many log-ins were seen, and a little longer for those that should not be.
fn seen(logins: &mut Logins, wanted: usize) -> Result<Vec<Login<Text>>> {
    let (mut all, begin) = (Vec::new(), Instant::now());
    let mut complete = None;
    loop {
        let now = ClockPair::now();
        let tally = logins.poll(now.boot_ns, now.unix_ns, &mut |login| all.push(login));
        ensure!(tally.throttled + tally.gaps + tally.broken == 0, "lost: {tally:?}");
        if all.len() >= wanted && complete.is_none() {
            complete = Some(Instant::now());
        }
        if complete.is_some_and(|at: Instant| at.elapsed() > Duration::from_secs(1)) {
            return Ok(all);
        }
        ensure!(begin.elapsed() < DEADLINE, "only {} of {wanted} log-ins were seen", all.len());
        thread::sleep(Duration::from_millis(50));
    }
}

fn followed() -> Result<()> {
    let state = tempfile::tempdir()?;
    let settings = Settings {
        source: Source::Auto,
        files: Vec::new(),
        state_dir: Some(state.path().to_owned()),
    };
    let _journald = Journald::start()?;
    let begin = Instant::now();
    let socket = UnixDatagram::unbound()?;
    while socket.connect(DEV_LOG).is_err() {
        ensure!(begin.elapsed() < DEADLINE, "journald does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    let send = |text: &[u8]| socket.send(text).context("journald takes nothing");
    // Its files appear with the first message.
    send(b"<86>sshd[70]: Invalid user before from 192.0.2.1 port 1")?;
    thread::sleep(Duration::from_millis(1500));
    let mut logins = Logins::new(&settings);
    seen(&mut logins, 0)?;

    send(b"<86>sshd[71]: Failed password for root from 192.0.2.7 port 5 ssh2")?;
    send(b"<86>sshd[71]: Invalid user \xff\xfe from 192.0.2.7 port 5")?;
    send(b"<30>cups[72]: nothing of ours")?;
    send(b"<30>sudo:  eve : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh")?;
    let first = seen(&mut logins, 3)?;
    let actions: Vec<u8> = first.iter().map(|login| login.action).collect();
    let wanted = [login_action::FAILED, login_action::INVALID_USER, login_action::COMMAND];
    ensure!(actions == wanted, "{first:?}");
    ensure!(&first[1].user[..] == b"\xff\xfe", "{:?}", first[1]);
    // This program is not sshd, and the journal knows it.
    let foreign = |login: &Login<Text>| login.flags & login_flag::FOREIGN_WRITER != 0;
    ensure!(first.iter().all(foreign), "{first:?}");

    logins.keep();
    drop(logins);
    send(b"<86>sshd[71]: Accepted password for root from 192.0.2.7 port 6 ssh2")?;
    let mut logins = Logins::new(&settings);
    let second = seen(&mut logins, 1)?;
    ensure!(second.len() == 1 && second[0].action == login_action::ACCEPTED, "{second:?}");

    for number in 0..3_000 {
        send(format!("<86>sshd[71]: Invalid user u{number} from 192.0.2.7 port 5").as_bytes())?;
    }
    let flood = seen(&mut logins, 3_000)?;
    ensure!(flood.len() == 3_000, "{} of 3000", flood.len());
    println!("journal: 3 log-ins, 1 while away, 3000 of 3000 in a flood, none twice");
    Ok(())
}
