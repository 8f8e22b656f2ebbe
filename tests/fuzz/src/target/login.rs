//! A line of a log, or an entry of the journal → a log-in record.

use sensor::ledger::Signal;
use sensor::login::time::Calendar;
use sensor::login::{LINE_MAX, follow, journal, line};
use sensor::observation::Record;

use super::{KIB, MIB, Target, choice};
use crate::delivery;

pub(super) const TARGET: Target = Target {
    name: "login",
    what: "a line of auth.log or an entry of the journal, of sshd, sudo, su, PAM and their like",
    input_max: 2 * KIB,
    memory_max: MIB,
    control: false,
    check,
    seeds,
};

/// A moment in 2024, so that dates without a year have one.
const NOW_NS: u64 = 1_709_632_800_000_000_000;

fn check(input: &[u8]) {
    let Some((choice, text)) = choice(input, 2) else { return };
    let login = if choice == 0 {
        if let Some(line) = line::parse(text) {
            let parts = line.host.len() + line.program.len() + line.message.len();
            assert!(parts <= text.len(), "parts of a line do not overlap");
        }
        let mut calendar = Calendar::new(None);
        calendar.set_now(NOW_NS);
        follow::of_line(text, false, &calendar)
    } else {
        let Some((position, entry)) = journal::parse(text) else { return };
        assert!(position.cursor.len() <= text.len() && entry.message.len() <= text.len());
        follow::of_entry(&entry)
    };
    let Some(login) = login else { return };
    let record = Record::Login(login);
    record.each_text(|text| assert!(text.len() <= LINE_MAX));
    delivery::check(&[delivery::alone(Signal::Login, record)]);
}

/// Heads and messages in the forms that services write.
const LINES: &[&str] = &[
    "Mar  5 09:00:00 web-1 sshd[71]: Accepted password for ana from 192.0.2.7 port 50122 ssh2",
    "Mar  5 09:00:00 web-1 sshd[71]: Accepted publickey for root from 2001:db8::7 port 9 ssh2: \
     ED25519 SHA256:AAAA",
    "<38>Mar  5 09:00:00 web-1 sshd[71]: Failed password for invalid user x from 192.0.2.7 port 5 \
     ssh2",
    "2024-03-05T09:00:00.123456+01:00 web-1 sshd-session[71]: Connection closed by authenticating \
     user root 192.0.2.7 port 5 [preauth]",
    "2024-03-05T09:00:00Z web-1 sshd[71]: message repeated 4 times: [ Failed password for root \
     from 192.0.2.7 port 5 ssh2]",
    "<86>1 2024-03-05T09:00:00Z web-1 sshd 71 - [a@1 b=\"\\]\"] Invalid user  from 192.0.2.7 port 5",
    "Mar  5 09:00:00 web-1 sudo:  ana : TTY=pts/0 ; PWD=/home/ana ; USER=root ; COMMAND=/bin/sh -c id",
    "Mar  5 09:00:00 web-1 sudo:  ana : 3 incorrect password attempts ; TTY=pts/0 ; PWD=/ ; \
     USER=root ; COMMAND=/bin/sh",
    "Mar  5 09:00:00 web-1 su[9]: (to root) ana on pts/1",
    "Mar  5 09:00:00 web-1 su[9]: pam_unix(su:auth): authentication failure; logname=ana uid=1000 \
     euid=0 tty=pts/1 ruser=ana rhost=  user=root",
    "Mar  5 09:00:00 web-1 sshd[71]: pam_unix(sshd:session): session opened for user ana(uid=1000) \
     by (uid=0)",
    "Mar  5 09:00:00 web-1 login[9]: FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication \
     failure",
    "Mar  5 09:00:00 web-1 systemd-logind[9]: New session 7 of user ana.",
    "Mar  5 09:00:00 web-1 CRON[9]: pam_unix(cron:session): session closed for user root",
    "Mar  5 09:00:00 web-1 useradd[9]: new user: name=bob, UID=1001, GID=1001, home=/home/bob, \
     shell=/bin/sh, from=/dev/pts/0",
    "Mar  5 09:00:00 web-1 usermod[9]: add 'bob' to group 'sudo'",
    "Mar  5 09:00:00 web-1 passwd[9]: pam_unix(passwd:chauthtok): password changed for bob",
];

fn seeds() -> Vec<Vec<u8>> {
    let lines = LINES.iter().map(|line| [&[0], line.as_bytes()].concat());
    let entry = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1709632800000001",
        "MESSAGE":"Accepted password for a from 192.0.2.7 port 5 ssh2",
        "SYSLOG_IDENTIFIER":"sshd","_PID":"71","_UID":"0","_EXE":"/usr/sbin/sshd"}"#;
    let bytes = r#"{"__CURSOR":"s","__REALTIME_TIMESTAMP":"1","SYSLOG_IDENTIFIER":["su","x"],
        "MESSAGE":[70,65,73,76,69,68,32,83,85,255],"_SOURCE_REALTIME_TIMESTAMP":"7"}"#;
    lines.chain([entry, bytes].map(|entry| [&[1], entry.as_bytes()].concat())).collect()
}
