//! What surrounds a process: who started it, for whom, and where its file lies.
//!
//! A name alone excuses nothing, since anybody can copy a program under it. A program counts as
//! what its name says only if it lies where packages put it, and work counts as a package
//! manager's only if no network service stands above it.

use crate::record::Process;
use wire::record::process_flag::{MEMFD, UNLINKED, UPPER_LAYER};

/// Where packages put programs. Only root writes there.
const PACKAGE_FOLDERS: [&[u8]; 9] = [
    b"/usr/",
    b"/bin/",
    b"/sbin/",
    b"/lib/",
    b"/lib64/",
    b"/opt/",
    b"/snap/",
    b"/nix/store/",
    b"/gnu/store/",
];

/// Where everybody writes.
const SCRATCH_FOLDERS: [&[u8]; 5] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/user/", b"/mnt/"];

/// Programs that install, remove and configure packages.
const PACKAGE_MANAGERS: &[&str] = &[
    "dpkg",
    "dpkg-deb",
    "dpkg-divert",
    "apt",
    "apt-get",
    "aptitude",
    "unattended-upgrade",
    "unattended-upgrades",
    "update-alternatives",
    "rpm",
    "yum",
    "dnf",
    "dnf5",
    "microdnf",
    "tdnf",
    "zypper",
    "packagekitd",
    "apk",
    "pacman",
    "emerge",
    "snapd",
    "snap",
    "flatpak",
    "nix-daemon",
    "rpm-ostree",
];

/// Programs that set hosts up as somebody described.
const MANAGEMENT: &[&str] = &[
    "cloud-init",
    "puppet",
    "chef-client",
    "cinc-client",
    "salt-minion",
    "salt-call",
    "cfagent",
    "cf-agent",
    "ansible-playbook",
    "ansible-pull",
    "ignition",
    "systemd-tmpfiles",
    "systemd-sysusers",
    "systemd-firstboot",
    "google_guest_agent",
    "google_metadata_script_runner",
    "waagent",
    "amazon-ssm-agent",
];

/// Begins of what Ansible copies to a host and runs there.
const ANSIBLE: &[u8] = b"AnsiballZ_";

/// Programs that compile, link, test and pack.
const BUILDERS: &[&str] = &[
    "make",
    "gmake",
    "ninja",
    "cmake",
    "ctest",
    "meson",
    "bazel",
    "cargo",
    "rustc",
    "go",
    "gcc",
    "g++",
    "cc",
    "c++",
    "clang",
    "clang++",
    "ld",
    "collect2",
    "gradle",
    "mvn",
    "npm",
    "yarn",
    "pnpm",
    "node-gyp",
    "dpkg-buildpackage",
    "rpmbuild",
    "makepkg",
    "buildkitd",
    "buildah",
    "kaniko",
    "gitlab-runner",
    "cc1",
    "as",
];

/// Servers that strangers talk to. Those that let people log in are not among them, nor those whose
/// name says only what they are written in.
const SERVICES: &[&str] = &[
    "nginx",
    "apache2",
    "httpd",
    "lighttpd",
    "caddy",
    "haproxy",
    "envoy",
    "traefik",
    "squid",
    "php-fpm",
    "php-cgi",
    "tomcat",
    "gunicorn",
    "uwsgi",
    "uvicorn",
    "puma",
    "unicorn",
    "passenger",
    "postgres",
    "mysqld",
    "mariadbd",
    "mongod",
    "redis-server",
    "valkey-server",
    "memcached",
    "elasticsearch",
    "named",
    "dnsmasq",
    "unbound",
    "exim4",
    "exim",
    "smtpd",
    "dovecot",
    "vsftpd",
    "proftpd",
    "pure-ftpd",
    "smbd",
    "cupsd",
    "influxd",
    "grafana",
    "grafana-server",
    "slapd",
];

/// What starts programs at a time that somebody set.
const SCHEDULERS: &[&str] = &["cron", "crond", "anacron", "atd", "fcron", "run-parts"];

/// First and last user id of accounts that no person logs in with, and the one for nobody.
const SERVICE_UIDS: std::ops::Range<u32> = 1..1_000;
const NOBODY: u32 = 65_534;

/// Returns whether the file lies where packages put programs.
pub(super) fn is_packaged(path: &[u8]) -> bool {
    let climbs = path.split(|&byte| byte == b'/').any(|part| part == b"..");
    !climbs && PACKAGE_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Returns whether the file lies where everybody may put one, in memory, or nowhere any more.
pub(super) fn is_scratch(process: &Process) -> bool {
    process.has(MEMFD | UNLINKED) || is_scratch_path(process.exe_path())
}

/// Returns whether everybody may write there.
pub(super) fn is_scratch_path(path: &[u8]) -> bool {
    SCRATCH_FOLDERS.iter().any(|folder| path.starts_with(folder))
}

/// Returns whether the process runs a program of one of these names, or a script of that name, that
/// lies where packages put it and that nobody replaced.
pub(super) fn runs(process: &Process, names: &[&str]) -> bool {
    let known = |path: &[u8]| is_packaged(path) && has_name(leaf(path), names);
    !process.has(MEMFD | UNLINKED | UPPER_LAYER)
        && (known(process.exe_path()) || known(&process.script))
}

/// The same for names from settings.
pub(super) fn is_one_of(process: &Process, names: &[String]) -> bool {
    let name = process.exe_name();
    !process.has(MEMFD | UNLINKED | UPPER_LAYER)
        && is_packaged(process.exe_path())
        && names.iter().any(|known| fits(name, known.as_bytes()))
}

/// Returns whether the process or an ancestor runs one of these programs.
pub(super) fn is_below(process: &Process, names: &[&str]) -> bool {
    chain(process).any(|one| runs(one, names))
}

/// Returns whether a package manager, or what sets hosts up, does this as its work.
pub(super) fn is_maintenance(process: &Process) -> bool {
    let mut maintained = false;
    for one in chain(process) {
        if is_service(one) {
            return false;
        }
        maintained |= runs(one, PACKAGE_MANAGERS)
            || runs(one, MANAGEMENT)
            || one.arguments().any(|argument| leaf(argument).starts_with(ANSIBLE));
    }
    maintained
}

/// Returns whether a compiler or its like does this as its work.
pub(super) fn is_build(process: &Process) -> bool {
    chain(process).any(|one| runs(one, BUILDERS)) && service(process).is_none()
}

/// Returns whether somebody who logged in sits at a terminal and started this, by no detour over a
/// service.
pub(super) fn is_admin_session(process: &Process) -> bool {
    process.login_uid.is_some() && !process.tty.is_empty() && service(process).is_none()
}

/// Returns whether it was started at a time that somebody set.
pub(super) fn is_scheduled(process: &Process) -> bool {
    // The session of a timed job may be another cgroup than the scheduler's.
    process.lineage().any(|one| runs(one, SCHEDULERS))
}

/// Returns the nearest ancestor that strangers talk to.
pub(super) fn service(process: &Process) -> Option<&Process> {
    process.lineage().map(AsRef::as_ref).find(|one| is_service(one))
}

/// Returns whether strangers talk to the process.
pub(super) fn is_service(process: &Process) -> bool {
    has_name(process.exe_name(), SERVICES)
}

/// Returns whether the account is one that no person logs in with.
pub(super) fn is_service_account(process: &Process) -> bool {
    SERVICE_UIDS.contains(&process.uid) || process.uid == NOBODY
}

/// Returns whether the process runs in a container.
pub(super) fn is_contained(process: &Process) -> bool {
    !process.container.is_empty()
}

/// Returns the process and the ancestors that share its cgroup: a unit, a session or a container is
/// one piece of work, and what lies above it is another.
fn chain(process: &Process) -> impl Iterator<Item = &Process> {
    let same = |one: &&Process| one.cgroup == process.cgroup || one.cgroup.is_empty();
    std::iter::once(process).chain(process.lineage().map(AsRef::as_ref)).take_while(same)
}

fn has_name(name: &[u8], names: &[&str]) -> bool {
    names.iter().any(|known| fits(name, known.as_bytes()))
}

/// Returns whether a file's name is the known one, perhaps with a version behind it, such as
/// `php-fpm8.2` or `python3`.
fn fits(name: &[u8], known: &[u8]) -> bool {
    let version = |rest: &[u8]| rest.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    name.strip_prefix(known).is_some_and(version)
}

/// Returns the last part of a path.
pub(super) fn leaf(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(b"")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn process(exe: &'static str, parent: Option<Process>) -> Process {
        let mut process = Process::default();
        process.exe = exe.into();
        process.parent = parent.map(Arc::new);
        process
    }

    #[test]
    fn a_name_counts_only_where_packages_put_it() {
        assert!(runs(&process("/usr/bin/dpkg", None), PACKAGE_MANAGERS));
        assert!(runs(&process("/usr/bin/gcc-12", None), BUILDERS));
        for exe in ["/tmp/dpkg", "/usr/../tmp/dpkg", "/usr/bin/dpkg-x", "dpkg"] {
            assert!(!runs(&process(exe, None), PACKAGE_MANAGERS), "{exe}");
        }
        let mut deleted = process("/usr/bin/dpkg (deleted)", None);
        deleted.flags = UNLINKED;
        assert!(!runs(&deleted, PACKAGE_MANAGERS));
    }

    #[test]
    fn maintenance_below_a_service_is_none() {
        let apt = |parent| process("/usr/bin/apt-get", parent);
        assert!(is_maintenance(&process("/bin/sh", Some(apt(None)))));
        let web = process("/usr/sbin/php-fpm8.2", None);
        assert!(!is_maintenance(&process("/bin/sh", Some(apt(Some(web))))));
        assert!(!is_maintenance(&process("/bin/sh", None)));
        let mut ansible = process("/usr/bin/python3.11", None);
        ansible.args = "python3\0/root/.ansible/tmp/x/AnsiballZ_copy.py\0".into();
        assert!(is_maintenance(&ansible));
    }

    #[test]
    fn a_session_is_somebody_at_a_terminal() {
        let mut shell = process("/bin/bash", None);
        (shell.login_uid, shell.tty) = (Some(1_000), "pts/0".into());
        assert!(is_admin_session(&shell));
        shell.tty = Default::default();
        assert!(!is_admin_session(&shell));
    }
}
