//! Files on their way to a scanner that is played here.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept, bind, listen, socket,
};
use scanner_abi::message::{self, Answer, Bundle, Compiled, Match, RuleFile, Scanned};
use wire::control::RulePart;
use wire::record::{File as FileRecord, file_action};

use super::*;
use crate::process::Process;

/// What the scanner says to one file; nothing ends it.
type Verdict = Option<(message::Outcome, Vec<&'static str>)>;

struct Stage {
    folder: tempfile::TempDir,
    scans: Scans,
    rules: Rules,
}

impl Stage {
    /// Starts with a scanner that gives these verdicts, one after the other, and none when there
    /// are none.
    fn new(verdicts: Option<Vec<Verdict>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        if let Some(verdicts) = verdicts {
            let listener = listening(&path);
            thread::spawn(move || scan(&listener, verdicts.into()));
        }
        let (scans, rules) = start(&path, folder.path()).unwrap();
        Self { folder, scans, rules }
    }

    fn give_rules(&self) {
        let part = RulePart {
            revision: "r1".into(),
            file: "t.yar".into(),
            text: "rule t { condition: true }".into(),
            rest: 0,
        };
        assert_eq!(self.rules.take(part), None);
        let start = Instant::now();
        while self.rules.follow().borrow().rules == 0 && start.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn execute(&mut self, path: &std::path::Path) {
        // The pid is nobody's, as if the process had ended already, and it saw the host's files.
        let mounts = self.scans.lasting[0].0 as u32;
        let process = Process {
            key: Key::new(u32::MAX, 1),
            exe: path.as_os_str().as_bytes().into(),
            namespaces: [0, mounts, 0, 0],
            ..Process::default()
        };
        let file = FileId::shown_by(&fs::metadata(path).unwrap());
        let exec = wire::record::Exec { time_ns: 5, ..Default::default() };
        self.scans.executed(&Executed { process, exec, file });
    }

    /// Waits until so many files are done.
    fn done(&mut self, count: usize) -> Vec<Outcome> {
        let (start, mut done) = (Instant::now(), Vec::new());
        while done.len() < count && start.elapsed() < Duration::from_secs(10) {
            done.extend(self.scans.take_in().into_iter().map(|done| done.outcome));
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(done.len(), count, "{done:?}");
        done
    }
}

fn listening(path: &std::path::Path) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    listen(&listener, Backlog::new(4).unwrap()).unwrap();
    listener
}

fn scan(listener: &OwnedFd, mut verdicts: VecDeque<Verdict>) {
    while let Ok(raw) = accept(listener.as_raw_fd()) {
        // SAFETY: the kernel has just made it, and nobody else knows it.
        let connection = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(raw) };
        while let Some((request, _file)) = message::asked(connection.as_fd()) {
            let (outcome, body) = if request.kind == message::RULES {
                let compiled = Compiled { rules: 1, ..Compiled::default() };
                (message::Outcome::Done, serde_json::to_vec(&compiled).unwrap())
            } else {
                // Without a verdict it ends, as if the file had been too much for it.
                let Some((outcome, rules)) = verdicts.pop_front().flatten() else { break };
                let found = |rule: &&str| Match { rule: (*rule).into(), ..Match::default() };
                let matches = rules.iter().map(found).collect();
                let scanned = Scanned { matches, ..Scanned::default() };
                (outcome, serde_json::to_vec(&scanned).unwrap())
            };
            let answer = Answer { outcome, took_us: 1, body };
            message::answer(connection.as_fd(), request.number, &answer).unwrap();
        }
    }
}

fn reasons(done: &[Outcome]) -> Vec<&'static str> {
    let reason = |outcome: &Outcome| match outcome {
        Outcome::Skipped(reason) => Some(*reason),
        _ => None,
    };
    done.iter().filter_map(reason).collect()
}

#[test]
fn a_content_is_scanned_once_and_again_when_it_changes() {
    let clean = || Some((message::Outcome::Done, vec![]));
    let mut stage = Stage::new(Some(vec![clean(), Some((message::Outcome::Done, vec!["t"]))]));
    let program = stage.file("program", "one");
    stage.execute(&program);
    assert_eq!(stage.scans.text(), None, "without rules nothing is asked and nothing is counted");
    stage.give_rules();
    stage.execute(&program);
    stage.execute(&program);
    assert!(matches!(stage.done(1)[..], [Outcome::Clean]));
    stage.execute(&program);
    thread::sleep(Duration::from_millis(20));
    fs::write(&program, "two").unwrap();
    stage.execute(&program);
    let done = stage.done(1);
    let [Outcome::Found(found)] = &done[..] else { panic!("{done:?}") };
    assert_eq!((found.scanned.matches[0].rule.as_str(), &*found.revision), ("t", "r1"));
    let [name, told, problem] = stage.scans.text().unwrap();
    assert_eq!((name.as_str(), problem.as_str()), ("scans", ""));
    assert_eq!(told, "1 rules: 2 scanned, 1 matched, 2 known already; skipped: none");
}

#[test]
fn every_file_that_is_not_scanned_has_a_reason() {
    let verdict = |outcome| Some((outcome, vec![]));
    let mut stage = Stage::new(Some(vec![
        verdict(message::Outcome::Timeout),
        None,
        verdict(message::Outcome::Done),
    ]));
    stage.give_rules();
    let slow = stage.file("slow", "1");
    stage.execute(&slow);
    assert_eq!(reasons(&stage.done(1)), ["timeout"]);
    let fatal = stage.file("fatal", "2");
    stage.execute(&fatal);
    assert_eq!(reasons(&stage.done(1)), ["scanner_ended"]);
    let next = stage.file("next", "3");
    stage.execute(&next);
    assert_eq!(reasons(&stage.done(1)), ["no_scanner"], "it waits before it connects again");
    let large = stage.file("large", "4");
    fs::File::options().write(true).open(&large).unwrap().set_len(1 << 30).unwrap();
    stage.execute(&large);
    let gone = stage.file("gone", "5");
    let secret = stage.file("secret", "6");
    stage.execute(&gone);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let done = stage.done(2);
    assert_eq!(reasons(&done)[0], "too_large");
    fs::remove_file(&gone).unwrap();
    stage.execute(&secret);
    let text = stage.scans.text().unwrap()[1].clone();
    assert!(text.contains("1 too large, 1 timeout") && text.contains("1 scanner ended"), "{text}");
    // The one that ended the scanner is not tried again, the others are once it is back.
    thread::sleep(Duration::from_millis(1_500));
    stage.execute(&fatal);
    stage.execute(&next);
    let done = stage.done(2);
    assert!(done.iter().any(|outcome| matches!(outcome, Outcome::Clean)), "{done:?}");
}

#[test]
fn without_a_scanner_nothing_is_asked_and_the_brain_is_told() {
    let mut stage = Stage::new(None);
    let program = stage.file("program", "x");
    stage.rules.follow().mark_unchanged();
    let (revision, file, text) = ("r1".into(), "t.yar".into(), "rule t {}".into());
    stage.rules.take(RulePart { revision, file, text, rest: 0 });
    let start = Instant::now();
    while stage.rules.follow().borrow().problem.is_empty() && start.elapsed().as_secs() < 5 {
        thread::sleep(Duration::from_millis(5));
    }
    let problem = stage.rules.follow().borrow().problem.clone();
    assert!(problem.contains("sakuramori-scanner.socket"), "{problem}");
    stage.execute(&program);
    assert_eq!(stage.scans.text(), None, "nothing is lost where nobody installed a scanner");
}

#[test]
fn a_storm_is_bounded_and_what_waits_at_the_end_is_given_up() {
    let mut stage = Stage::new(None);
    stage.give_rules_without_waiting();
    for n in 0..3 * WAITING_MAX {
        let candidate = Candidate {
            key: Key::new(u32::MAX, 1),
            path: format!("/none/{n}").into_bytes().into(),
            time_ns: 1,
            trigger: scan_trigger::SCRIPT,
        };
        stage.scans.ask(Job { candidate, asked: None, instead: None, late: false });
    }
    let mut done = stage.scans.finish();
    let all = done.len();
    assert_eq!(all, 3 * WAITING_MAX, "each is told once");
    done.retain(|done| !matches!(done.outcome, Outcome::Skipped(_)));
    assert!(done.is_empty(), "{done:?}");
}

#[test]
fn only_files_that_may_be_executed_are_asked_for_when_they_are_written() {
    let clean = Some((message::Outcome::Done, vec![]));
    let mut stage = Stage::new(Some(vec![clean]));
    stage.give_rules();
    let program = stage.file("program", "x");
    let path: Text = program.as_os_str().as_bytes().into();
    let written = FileRecord {
        action: file_action::OPEN_WRITE,
        mode: 0o100_755,
        path: path.clone(),
        target: Text::from(&b""[..]),
        ..FileRecord::default()
    };
    let own = Some(Key::new(std::process::id(), 1));
    stage.scans.touched(&FileRecord { mode: 0o100_644, ..written.clone() }, own, 0);
    stage.scans.touched(&FileRecord { error: 13, ..written.clone() }, own, 0);
    stage.scans.touched(&FileRecord { action: file_action::UNLINK, ..written.clone() }, own, 0);
    assert!(stage.scans.waiting_paths.is_empty());
    let start = Instant::now();
    stage.scans.touched(&written, own, 0);
    assert!(matches!(stage.done(1)[..], [Outcome::Clean]));
    assert!(start.elapsed() >= Duration::from_secs(1), "whoever writes it has time to finish");
}

impl Stage {
    fn give_rules_without_waiting(&self) {
        let files = vec![RuleFile { name: "t.yar".into(), text: "rule t {}".into() }];
        let bundle = Bundle { revision: "r1".into(), files };
        let RuleFile { name, text } = bundle.files[0].clone();
        self.rules.take(RulePart { revision: bundle.revision, file: name, text, rest: 0 });
    }
}
