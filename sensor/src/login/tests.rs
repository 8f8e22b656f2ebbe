//! Lines as the distributions write them, lines that pretend, and any bytes at all.

use proptest::prelude::*;

use super::event::{Action, Event, Parsed};
use super::*;

/// An event in one line: action, service, then what is known.
fn told(event: &Event<'_>) -> String {
    let mut told = format!("{:?} {:?}", event.service, event.action);
    let port = match event.remote_port {
        0 => String::new(),
        port => port.to_string(),
    };
    for (name, text) in [
        ("user", event.user),
        ("target", event.target),
        ("host", event.remote_text),
        ("port", port.as_bytes()),
        ("by", event.method),
        ("key", event.key),
        ("tty", event.tty),
        ("in", event.directory),
        ("detail", event.detail),
    ] {
        if !text.is_empty() {
            told += &format!(" {name}={}", String::from_utf8_lossy(text));
        }
    }
    let marks = event.marks;
    for (name, set) in [
        ("invalid", marks.invalid_user),
        ("preauth", marks.preauth),
        ("ambiguous", marks.ambiguous),
        ("continued", marks.continued),
    ] {
        if set {
            told += &format!(" {name}");
        }
    }
    match event.repeated {
        0 => told,
        count => format!("{told} x{count}"),
    }
}

fn read(line: &str) -> String {
    let line = line::parse(line.as_bytes()).unwrap_or_else(|| panic!("no head: {line}"));
    match parse(line.program, line.message) {
        Parsed::Event(event) => told(&event),
        other => format!("{other:?}"),
    }
}

fn all(cases: &[(&str, &str)]) {
    for (line, wanted) in cases {
        assert_eq!(read(line), *wanted, "{line}");
    }
}

#[test]
fn sshd_attempts() {
    all(&[
        (
            "Mar  5 09:00:01 deb sshd[812]: Accepted password for alice from 192.0.2.7 port 40122 ssh2",
            "Sshd Accepted user=alice host=192.0.2.7 port=40122 by=password",
        ),
        (
            "2024-03-05T09:00:01.120404+01:00 noble sshd[812]: Accepted publickey for ubuntu from \
             2001:db8::9 port 40122 ssh2: ED25519 SHA256:kQ3pJ0v0bq1u5sZr5x9mQeY7w1t2H3d4f5G6h7J8k9L",
            "Sshd Accepted user=ubuntu host=2001:db8::9 port=40122 by=publickey key=ED25519 \
             SHA256:kQ3pJ0v0bq1u5sZr5x9mQeY7w1t2H3d4f5G6h7J8k9L",
        ),
        (
            "Mar  5 09:00:01 al sshd-session[99]: Accepted publickey for ops from 192.0.2.7 port 9 \
             ssh2: RSA-CERT SHA256:abc ID ops@corp (serial 7) CA ED25519 SHA256:def",
            "Sshd Accepted user=ops host=192.0.2.7 port=9 by=publickey key=RSA-CERT SHA256:abc",
        ),
        (
            "Mar  5 09:00:01 rocky sshd[812]: Accepted keyboard-interactive/pam for bob from \
             192.0.2.7 port 5 ssh2",
            "Sshd Accepted user=bob host=192.0.2.7 port=5 by=keyboard-interactive/pam",
        ),
        (
            "Mar  5 09:00:01 rocky sshd[812]: Accepted gssapi-with-mic for bob from 192.0.2.7 port \
             5 ssh2: bob@EXAMPLE.COM",
            "Sshd Accepted user=bob host=192.0.2.7 port=5 by=gssapi-with-mic",
        ),
        (
            "Mar  5 09:00:01 amzn sshd[812]: Failed password for root from ::ffff:192.0.2.7 port 5 ssh2",
            "Sshd Failed user=root host=::ffff:192.0.2.7 port=5 by=password",
        ),
        (
            "Mar  5 09:00:01 amzn sshd[812]: Failed password for invalid user oracle from 192.0.2.7 \
             port 5 ssh2",
            "Sshd Failed user=oracle host=192.0.2.7 port=5 by=password invalid",
        ),
        (
            "Mar  5 09:00:01 amzn sshd[812]: Failed none for invalid user  from 192.0.2.7 port 5 ssh2",
            "Sshd Failed host=192.0.2.7 port=5 by=none invalid",
        ),
        (
            "Mar  5 09:00:01 u sshd[812]: message repeated 4 times: [ Failed password for root from \
             192.0.2.7 port 5 ssh2]",
            "Sshd Failed user=root host=192.0.2.7 port=5 by=password x4",
        ),
        (
            "Mar  5 09:00:01 u sshd[812]: Invalid user test from 192.0.2.7 port 5",
            "Sshd InvalidUser user=test host=192.0.2.7 port=5 invalid",
        ),
        (
            "Mar  5 09:00:01 old sshd[812]: input_userauth_request: invalid user test [preauth]",
            "Sshd InvalidUser user=test invalid preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[812]: error: PAM: Authentication failure for root from 192.0.2.7",
            "Sshd Failed user=root host=192.0.2.7 by=PAM detail=Authentication failure",
        ),
        (
            "Mar  5 09:00:01 u sshd[812]: Postponed keyboard-interactive for root from 192.0.2.7 \
             port 5 ssh2 [preauth]",
            "Dull",
        ),
        (
            "Mar  5 09:00:01 u sshd[812]: Failed hostbased for dan from 192.0.2.7 port 5 ssh2: RSA \
             SHA256:abc, client user \"dan\", client host \"there.example\"",
            "Sshd Failed user=dan host=192.0.2.7 port=5 by=hostbased key=RSA SHA256:abc",
        ),
    ]);
}

#[test]
fn sshd_connections() {
    all(&[
        (
            "Mar  5 09:00:01 u sshd[8]: Connection closed by 192.0.2.7 port 5 [preauth]",
            "Sshd Disconnected host=192.0.2.7 port=5 preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Connection reset by authenticating user root 192.0.2.7 port \
             5 [preauth]",
            "Sshd Disconnected user=root host=192.0.2.7 port=5 preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Connection closed by invalid user  192.0.2.7 port 5 [preauth]",
            "Sshd Disconnected host=192.0.2.7 port=5 invalid preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Disconnected from user alice 192.0.2.7 port 5",
            "Sshd Disconnected user=alice host=192.0.2.7 port=5",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Received disconnect from 192.0.2.7 port 5:11: Bye Bye [preauth]",
            "Sshd Disconnected host=192.0.2.7 port=5 detail=11: Bye Bye preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: error: Received disconnect from 192.0.2.7: 3: Auth fail \
             [preauth]",
            "Sshd Disconnected host=192.0.2.7 detail=3: Auth fail preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Disconnecting authenticating user root 192.0.2.7 port 5: \
             Too many authentication failures [preauth]",
            "Sshd TooMany user=root host=192.0.2.7 port=5 preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Disconnecting: Too many authentication failures for root \
             [preauth]",
            "Sshd TooMany user=root preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: error: maximum authentication attempts exceeded for invalid \
             user x from 192.0.2.7 port 5 ssh2 [preauth]",
            "Sshd TooMany user=x host=192.0.2.7 port=5 invalid preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Disconnecting invalid user a 192.0.2.7 port 5: Change of \
             username or service not allowed: (a,ssh-connection) -> (b,ssh-connection) [preauth]",
            "Sshd Disconnected user=a host=192.0.2.7 port=5 detail=Change of username or service \
             not allowed: (a,ssh-connection) -> (b,ssh-connection) invalid preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: ROOT LOGIN REFUSED FROM 192.0.2.7 port 5 [preauth]",
            "Sshd Refused user=ROOT host=192.0.2.7 port=5 detail=ROOT LOGIN REFUSED preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: User bob from 192.0.2.7 not allowed because not listed in \
             AllowUsers",
            "Sshd Refused user=bob host=192.0.2.7 detail=not listed in AllowUsers",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: User bob not allowed because account is locked",
            "Sshd Refused user=bob detail=account is locked",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Unable to negotiate with 192.0.2.7 port 5: no matching key \
             exchange method found. Their offer: x from 9.9.9.9 [preauth]",
            "Sshd Probe host=192.0.2.7 port=5 detail=Unable to negotiate with 192.0.2.7 port 5: no \
             matching key exchange method found. Their offer: x from 9.9.9.9 preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Bad protocol version identification 'a' from 9.9.9.9 port 1' \
             from 192.0.2.7 port 5",
            "Sshd Probe host=192.0.2.7 port=5 detail=Bad protocol version identification 'a' from \
             9.9.9.9 port 1' from 192.0.2.7 port 5",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: error: kex_exchange_identification: client sent invalid \
             protocol identifier \"GET / from 9.9.9.9 port 1 \"",
            "Sshd Probe detail=kex_exchange_identification: client sent invalid protocol identifier \
             \"GET / from 9.9.9.9 port 1 \"",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: drop connection #10 from [192.0.2.7]:5 on [192.0.2.1]:22 past \
             MaxStartups",
            "Sshd Throttled host=192.0.2.7 port=5 detail=on [192.0.2.1]:22 past MaxStartups",
        ),
        ("Mar  5 09:00:01 u sshd[8]: Server listening on 0.0.0.0 port 22.", "Dull"),
        ("Mar  5 09:00:01 u sshd[8]: something that nobody wrote before", "Unknown"),
    ]);
}

#[test]
fn a_user_name_that_looks_like_the_message_is_a_user_name() {
    all(&[
        (
            "Mar  5 09:00:01 u sshd[8]: Invalid user admin from 1.2.3.4 port 5 ssh2 from 9.9.9.9 \
             port 6",
            "Sshd InvalidUser user=admin from 1.2.3.4 port 5 ssh2 host=9.9.9.9 port=6 invalid",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Failed password for invalid user x from 1.1.1.1 port 22 ssh2 \
             from 9.9.9.9 port 6 ssh2",
            "Sshd Failed user=x from 1.1.1.1 port 22 ssh2 host=9.9.9.9 port=6 by=password invalid",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Failed publickey for invalid user x from 1.1.1.1 port 22 \
             ssh2: RSA SHA256:a from 9.9.9.9 port 6 ssh2: ED25519 SHA256:b",
            "Sshd Failed user=x from 1.1.1.1 port 22 ssh2: RSA SHA256:a host=9.9.9.9 port=6 \
             by=publickey key=ED25519 SHA256:b invalid ambiguous",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Invalid user from from 9.9.9.9 port 6",
            "Sshd InvalidUser user=from host=9.9.9.9 port=6 invalid",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Connection closed by invalid user x 1.1.1.1 port 22 9.9.9.9 \
             port 6 [preauth]",
            "Sshd Disconnected user=x 1.1.1.1 port 22 host=9.9.9.9 port=6 invalid preauth",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Disconnecting invalid user a 9.9.9.9 port 6: Change of \
             username or service not allowed: (a,ssh-connection) -> (b 1.1.1.1 port 22: \
             Too,ssh-connection) [preauth]",
            "Sshd Disconnected user=a host=9.9.9.9 port=6 detail=Change of username or service not \
             allowed: (a,ssh-connection) -> (b 1.1.1.1 port 22: Too,ssh-connection) invalid preauth \
             ambiguous",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: Invalid user a#012Mar  5 09:00:02 u sshd[8]: Accepted \
             password for root from 1.1.1.1 port 1 ssh2 from 9.9.9.9 port 6",
            "Sshd InvalidUser user=a#012Mar  5 09:00:02 u sshd[8]: Accepted password for root from \
             1.1.1.1 port 1 ssh2 host=9.9.9.9 port=6 invalid",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: pam_unix(sshd:auth): authentication failure; logname= uid=0 \
             euid=0 tty=ssh ruser= rhost=9.9.9.9  user=x rhost=1.1.1.1",
            "Sshd Failed user=x rhost=1.1.1.1 host=9.9.9.9 by=pam_unix tty=ssh",
        ),
    ]);
}

#[test]
fn sudo_and_su() {
    all(&[
        (
            "Mar  5 09:00:01 u sudo:    alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; \
             COMMAND=/usr/bin/apt update",
            "Sudo Command user=alice target=root tty=pts/0 in=/home/alice detail=/usr/bin/apt update",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: bob : user NOT in sudoers ; TTY=pts/1 ; PWD=/ ; USER=root ; \
             COMMAND=/bin/sh",
            "Sudo Refused user=bob target=root tty=pts/1 in=/ detail=/bin/sh",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: bob : 3 incorrect password attempts ; TTY=pts/1 ; PWD=/ ; \
             USER=root ; COMMAND=/bin/sh",
            "Sudo Failed user=bob target=root tty=pts/1 in=/ detail=/bin/sh",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: bob : command not allowed ; PWD=/ ; USER=root ; \
             TSID=00001A ; COMMAND=/bin/sh ; TTY=x",
            "Sudo Refused user=bob target=root in=/ detail=/bin/sh ; TTY=x",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: ci : TTY=unknown ; PWD=/ ; USER=www ; GROUP=www ; \
             TSID=00001A ; ENV=A=b ; COMMAND=/bin/id",
            "Sudo Command user=ci target=www tty=unknown in=/ detail=/bin/id",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: ci : (command continued) --last-part",
            "Sudo Command user=ci detail=--last-part continued",
        ),
        (
            "Mar  5 09:00:01 u sudo[77]: eve : TTY=pts/0 ; PWD=/tmp/ ; USER=ci ; COMMAND=/bin/true ; \
             USER=root ; COMMAND=/bin/sh",
            "Sudo Command user=eve target=ci tty=pts/0 in=/tmp/ detail=/bin/true ; USER=root ; \
             COMMAND=/bin/sh ambiguous",
        ),
        (
            "Mar  5 09:00:01 u sudo: pam_unix(sudo:session): session opened for user root(uid=0) by \
             alice(uid=1000)",
            "Sudo SessionOpened user=alice target=root by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 u sudo: pam_unix(sudo:auth): authentication failure; logname=alice \
             uid=1000 euid=0 tty=/dev/pts/0 ruser=alice rhost=  user=alice",
            "Sudo Failed user=alice target=alice by=pam_unix tty=/dev/pts/0",
        ),
        (
            "Mar  5 09:00:01 u su[9]: (to root) alice on pts/0",
            "Su Accepted user=alice target=root tty=pts/0",
        ),
        (
            "Mar  5 09:00:01 u su[9]: FAILED SU (to root) alice on pts/0",
            "Su Failed user=alice target=root tty=pts/0",
        ),
        (
            "Mar  5 09:00:01 u su[9]: Successful su for root by alice",
            "Su Accepted user=alice target=root",
        ),
        (
            "Mar  5 09:00:01 u su[9]: FAILED su for root by alice",
            "Su Failed user=alice target=root",
        ),
        ("Mar  5 09:00:01 u su[9]: + /dev/pts/0 alice:root", "Dull"),
        (
            "Mar  5 09:00:01 u su: pam_unix(su-l:auth): authentication failure; logname=alice \
             uid=1000 euid=0 tty=pts/0 ruser=alice rhost=  user=root",
            "Su Failed user=alice target=root by=pam_unix tty=pts/0",
        ),
    ]);
}

#[test]
fn pam_and_sessions() {
    all(&[
        (
            "Mar  5 09:00:01 u sshd[8]: pam_unix(sshd:session): session opened for user \
             alice(uid=1000) by (uid=0)",
            "Sshd SessionOpened user=alice by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: pam_unix(sshd:session): session closed for user alice",
            "Sshd SessionClosed user=alice by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 rhel sshd[8]: pam_sss(sshd:auth): authentication failure; logname= \
             uid=0 euid=0 tty=ssh ruser= rhost=192.0.2.7 user=carol",
            "Sshd Failed user=carol host=192.0.2.7 by=pam_sss tty=ssh",
        ),
        (
            "Mar  5 09:00:01 rhel sshd[8]: pam_sss(sshd:auth): received for user carol: 7 \
             (Authentication failure)",
            "Dull",
        ),
        (
            "Mar  5 09:00:01 rhel sshd[8]: pam_faillock(sshd:auth): Consecutive login failures for \
             user carol account temporarily locked",
            "Sshd TooMany user=carol by=pam_faillock detail=Consecutive login failures for user \
             carol account temporarily locked",
        ),
        (
            "Mar  5 09:00:01 rhel sshd[8]: pam_access(sshd:account): access denied for user `carol' \
             from `192.0.2.7'",
            "Sshd Refused user=carol host=192.0.2.7 by=pam_access detail=access denied for user \
             `carol' from `192.0.2.7'",
        ),
        (
            "Mar  5 09:00:01 u sshd[8]: PAM 2 more authentication failures; logname= uid=0 euid=0 \
             tty=ssh ruser= rhost=192.0.2.7  user=root",
            "Sshd Failed user=root host=192.0.2.7 tty=ssh x2",
        ),
        (
            "Mar  5 09:00:01 u CRON[8]: pam_unix(cron:session): session opened for user root(uid=0) \
             by (uid=0)",
            "Cron SessionOpened user=root by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 u gdm-password][8]: pam_unix(gdm-password:session): session opened for \
             user dave(uid=1000) by (uid=0)",
            "Other SessionOpened user=dave by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 u systemd[8]: pam_unix(systemd-user:session): session opened for user \
             alice(uid=1000) by (uid=0)",
            "Dull",
        ),
        (
            "Mar  5 09:00:01 u systemd-logind[8]: New session 5 of user alice.",
            "Logind SessionOpened user=alice detail=5",
        ),
        (
            "Mar  5 09:00:01 u systemd-logind[8]: New session '5' of user 'alice' with class 'user' \
             and type 'tty'.",
            "Logind SessionOpened user=alice detail=5",
        ),
        ("Mar  5 09:00:01 u systemd-logind[8]: Removed session 5.", "Dull"),
        (
            "Mar  5 09:00:01 u login[8]: FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication \
             failure",
            "Login Failed user=root tty=/dev/tty1 detail=Authentication failure",
        ),
        (
            "Mar  5 09:00:01 u login[8]: FAILED LOGIN 1 FROM tty1 FOR root, Authentication failure",
            "Login Failed user=root tty=tty1 detail=Authentication failure",
        ),
        ("Mar  5 09:00:01 u login[8]: ROOT LOGIN ON tty1", "Login Accepted user=ROOT tty=tty1"),
        (
            "Mar  5 09:00:01 u login[8]: ROOT LOGIN  on '/dev/tty1'",
            "Login Accepted user=ROOT tty=/dev/tty1",
        ),
        (
            "Mar  5 09:00:01 u login[8]: LOGIN ON pts/0 BY dave FROM there.example",
            "Login Accepted user=dave host=there.example tty=pts/0",
        ),
        ("Mar  5 09:00:01 u kernel: pam_what(x:y): z", "Foreign"),
        ("Mar  5 09:00:01 u CRON[8]: (root) CMD (run-parts)", "Foreign"),
    ]);
}

#[test]
fn accounts() {
    all(&[
        (
            "Mar  5 09:00:01 u useradd[8]: new user: name=eve, UID=1002, GID=1002, home=/home/eve, \
             shell=/bin/bash, from=/dev/pts/0",
            "Account AccountAdded target=eve detail=UID=1002, GID=1002, home=/home/eve, \
             shell=/bin/bash, from=/dev/pts/0",
        ),
        (
            "Mar  5 09:00:01 u useradd[8]: new group: name=eve, GID=1002",
            "Account GroupAdded target=eve detail=GID=1002",
        ),
        (
            "Mar  5 09:00:01 u usermod[8]: add 'eve' to group 'sudo'",
            "Account GroupChanged target=eve detail=sudo",
        ),
        (
            "Mar  5 09:00:01 u gpasswd[8]: user eve added by root to group wheel",
            "Account GroupChanged user=root target=eve detail=wheel",
        ),
        (
            "Mar  5 09:00:01 u usermod[8]: change user 'eve' UID from '1002' to '0'",
            "Account AccountChanged target=eve detail=UID from '1002' to '0'",
        ),
        (
            "Mar  5 09:00:01 u usermod[8]: change user 'eve' password",
            "Account PasswordChanged target=eve detail=password",
        ),
        (
            "Mar  5 09:00:01 u passwd[8]: pam_unix(passwd:chauthtok): password changed for eve",
            "Account PasswordChanged target=eve by=pam_unix",
        ),
        (
            "Mar  5 09:00:01 u passwd[8]: password for 'eve' changed by 'root'",
            "Account PasswordChanged user=root target=eve",
        ),
        ("Mar  5 09:00:01 u userdel[8]: delete user 'eve'", "Account AccountRemoved target=eve"),
        (
            "Mar  5 09:00:01 u userdel[8]: removed group 'eve' owned by 'eve'",
            "Account GroupRemoved target=eve",
        ),
        (
            "Mar  5 09:00:01 u groupadd[8]: group added to /etc/group: name=dev, GID=1003",
            "Account GroupAdded target=dev detail=GID=1003",
        ),
        (
            "Mar  5 09:00:01 u groupdel[8]: group 'dev' removed from /etc/group",
            "Account GroupRemoved target=dev detail=removed from /etc/group",
        ),
        ("Mar  5 09:00:01 u useradd[8]: failed adding user 'eve', exit code: 9", "Dull"),
    ]);
}

fn is_part(line: &[u8], field: &[u8]) -> bool {
    field.is_empty() || scan::find(line, field).is_some()
}

/// Pieces of which messages are made, so that random lines come near to real ones.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"Accepted ",
        b"Failed ",
        b"password",
        b"publickey",
        b" for ",
        b"invalid user ",
        b" from ",
        b"1.2.3.4",
        b" port ",
        b"22",
        b" ssh2",
        b": ",
        b"RSA SHA256:x",
        b" [preauth]",
        b"Invalid user ",
        b"Connection closed by ",
        b"Disconnecting ",
        b"Disconnected from ",
        b"user ",
        b"root",
        b"Received disconnect from ",
        b"message repeated 2 times: [ ",
        b"]",
        b"pam_unix(sshd:auth): ",
        b"authentication failure; ",
        b"logname=",
        b" uid=",
        b" tty=",
        b" ruser=",
        b" rhost=",
        b" user=",
        b"session opened for user ",
        b" by ",
        b"(uid=0)",
        b" : ",
        b"TTY=",
        b" ; ",
        b"PWD=",
        b"USER=",
        b"COMMAND=",
        b"(to ",
        b") ",
        b" on ",
        b"FAILED SU ",
        b"FAILED LOGIN ",
        b" FOR ",
        b"'",
        b"new user: name=",
        b", ",
        b"New session ",
        b" of user ",
        b" with class ",
        b"add ",
        b" to group ",
        b"drop connection ",
        b"[",
        b"PAM: ",
        b"PAM ",
        b"more authentication failures; ",
        b"User ",
        b" not allowed because ",
        b"maximum authentication attempts exceeded for ",
        b"group ",
        b"\xff",
        b"\0",
        b" ",
        b"Change of username or service not allowed: (",
        b",",
        b"hostbased",
        b"client user ",
        b"ID ",
        b" CA ",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..16).prop_map(|w| w.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_field_is_part_of_the_line(
        message in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..200)],
        program in proptest::sample::select(vec![
            "sshd", "sudo", "su", "login", "CRON", "systemd-logind", "useradd", "passwd", "other",
        ]),
    ) {
        if let Parsed::Event(event) = parse(program.as_bytes(), &message) {
            for field in [
                event.user, event.target, event.remote_text, event.method, event.key, event.tty,
                event.directory, event.detail,
            ] {
                prop_assert!(is_part(&message, field), "{}", told(&event));
            }
        }
    }

    /// Whatever the user is called, the peer is the one that sshd names.
    #[test]
    fn no_user_name_moves_the_peer(name in pieces(), invalid: bool) {
        prop_assume!(name.len() <= 100 && !name.contains(&b'\n'));
        let prefix: &[u8] = if invalid { b"invalid user " } else { b"" };
        for (head, tail) in [
            (&b"Failed password for "[..], &b" from 203.0.113.9 port 4321 ssh2"[..]),
            (b"Accepted password for ", b" from 203.0.113.9 port 4321 ssh2"),
            (b"Failed publickey for ", b" from 203.0.113.9 port 4321 ssh2: RSA SHA256:y"),
            (b"maximum authentication attempts exceeded for ",
             b" from 203.0.113.9 port 4321 ssh2 [preauth]"),
            (b"Connection closed by authenticating user ", b" 203.0.113.9 port 4321 [preauth]"),
            (b"Disconnected from user ", b" 203.0.113.9 port 4321"),
        ] {
            let message = [head, prefix, &name[..], tail].concat();
            let Parsed::Event(event) = parse(b"sshd", &message) else {
                return Err(TestCaseError::fail("not understood"));
            };
            prop_assert_eq!((event.remote_text, event.remote_port), (&b"203.0.113.9"[..], 4321));
        }
    }

    #[test]
    fn any_line_is_safe(line in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some(line) = line::parse(&line) {
            let _ = parse(line.program, line.message);
        }
    }
}

/// Nothing that an action is called may change what its number means.
#[test]
fn actions_stand_in_their_order() {
    for (at, action) in Action::ALL.iter().enumerate() {
        assert_eq!(*action as usize, at);
    }
}
