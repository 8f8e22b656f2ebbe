//! From a log on disk to records, with every event accounted for.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

const SECOND: u64 = 1_000_000_000;
/// 2024-03-05T10:00:00Z.
const NOW_NS: u64 = 1_709_632_800 * SECOND;

fn settings(dir: &Path) -> Settings {
    Settings {
        source: Source::File,
        files: vec![dir.join("auth.log")],
        state_dir: Some(dir.to_owned()),
    }
}

fn append(dir: &Path, text: &str) {
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).open(dir.join("auth.log")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Looks until nothing comes any more.
fn all(logins: &mut Logins, second: u64) -> (Vec<Login<Text>>, Tally) {
    let (mut records, mut sum) = (Vec::new(), Tally::default());
    for part in 0..50 {
        let now = (second * 1000 + part) * SECOND / 1000;
        let tally = logins.look(now, NOW_NS, &mut |login| records.push(login));
        sum.taken += tally.taken;
        sum.throttled += tally.throttled;
        sum.gaps += tally.gaps;
    }
    (records, sum)
}

#[test]
fn a_line_becomes_a_record() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "");
    let mut logins = Logins::new(&settings(dir.path()));
    assert_eq!(all(&mut logins, 1).1, Tally::default());
    append(
        dir.path(),
        "Mar  5 09:00:00 web sshd[71]: Failed password for invalid user x from 192.0.2.7 port 5 ssh2\n\
         Mar  5 09:00:01 web kernel: nothing of ours\n\
         Mar  5 09:00:02 web sshd[71]: something new\n\
         Mar  5 09:00:03 web sudo:  a : TTY=pts/0 ; PWD=/root ; USER=root ; COMMAND=/bin/id -u\n",
    );
    let (records, tally) = all(&mut logins, 2);
    assert_eq!(tally, Tally { taken: 3, ..Tally::default() });
    let failed = &records[0];
    assert_eq!((failed.action, failed.pid, failed.remote_port), (login_action::FAILED, 71, 5));
    assert_eq!((failed.flags, failed.count), (login_flag::INVALID_USER, 1));
    assert_eq!(failed.time_ns, NOW_NS - 3600 * SECOND);
    assert_eq!(failed.remote.to_ip(), std::net::IpAddr::from([192, 0, 2, 7]));
    assert_eq!((&failed.user[..], &failed.service[..]), (&b"x"[..], &b"sshd"[..]));
    assert_eq!(records[1].action, login_action::OTHER);
    let sudo = &records[2];
    assert_eq!((&sudo.command[..], &sudo.cwd[..]), (&b"/bin/id -u"[..], &b"/root"[..]));
    assert_eq!((&sudo.user[..], &sudo.target_user[..]), (&b"a"[..], &b"root"[..]));
}

#[test]
fn a_flood_is_taken_up_to_the_rate_and_the_rest_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "");
    let mut logins = Logins::new(&settings(dir.path()));
    all(&mut logins, 1);
    let lines: u64 = 60_000;
    let line = "Mar  5 09:00:00 web sshd[71]: Invalid user x from 192.0.2.7 port 5\n";
    append(dir.path(), &line.repeat(lines as usize));
    let (records, tally) = all(&mut logins, 2);
    assert_eq!(tally.taken + tally.throttled, lines);
    assert_eq!((records.len() as u64, tally.gaps), (tally.taken, 0));
    assert!((BURST..BURST + 100).contains(&tally.taken), "{tally:?}");
    // The allowance comes back.
    append(dir.path(), line);
    assert_eq!(all(&mut logins, 20).1.taken, 1);
}

#[test]
fn a_restart_repeats_nothing_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    append(dir.path(), "");
    let mut taken = 0;
    let line = "Mar  5 09:00:00 web sshd[71]: Invalid user x from 192.0.2.7 port 5\n";
    for second in 1..6 {
        let mut logins = Logins::new(&settings(dir.path()));
        let (_, tally) = all(&mut logins, second);
        taken += tally.taken;
        assert_eq!(tally.gaps, 0);
        logins.keep();
        drop(logins);
        append(dir.path(), line);
    }
    assert_eq!(taken, 4);
}

#[test]
fn a_writer_that_is_not_what_it_says_is_marked() {
    let entry = |program: &str, exe: &str, uid| Entry {
        program: program.into(),
        exe: exe.into(),
        uid: Some(uid),
        message: b"Accepted password for root from 192.0.2.7 port 5 ssh2".to_vec(),
        ..Entry::default()
    };
    assert!(!is_foreign(&entry("sshd", "/usr/sbin/sshd", 0)));
    assert!(!is_foreign(&entry("sshd-session", "/usr/libexec/openssh/sshd-session", 0)));
    assert!(!is_foreign(&entry("sudo", "/usr/bin/sudo", 1000)));
    assert!(!is_foreign(&entry("sshd", "", 0)));
    let forged = entry("sshd", "/usr/bin/logger", 1000);
    assert!(is_foreign(&forged));
    let flags = of_entry(&forged).unwrap().flags;
    assert_eq!(flags, login_flag::FOREIGN_WRITER);
}
