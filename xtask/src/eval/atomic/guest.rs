//! What is in the guest: a small server's programs, the brain, the sensor, and the tests.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::case::Case;
use super::scratch;
use crate::shell;
use crate::vm::archive::Archive;
use crate::vm::guest::{MERGED, add_libraries, add_modules, add_shell, merged, read};
use crate::vm::kernel::Kernel;

/// Packages of this machine whose programs a small server has. What is not installed here is not in
/// the guest, and tests that need it say so.
const PACKAGES: [&str; 44] = [
    "acl",
    "at",
    "base-files",
    "bash",
    "bsdextrautils",
    "bsdutils",
    "bzip2",
    "coreutils",
    "cron",
    "cron-daemon-common",
    "curl",
    "dash",
    "debianutils",
    "diffutils",
    "e2fsprogs",
    "file",
    "findutils",
    "gawk",
    "gpg",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "iptables",
    "libc-bin",
    "libpam-modules",
    "login",
    "lsof",
    "mawk",
    "net-tools",
    "openssl",
    "passwd",
    "procps",
    "psmisc",
    "sed",
    "sudo",
    "tar",
    "tcpdump",
    "ufw",
    "util-linux",
    "wget",
    "xz-utils",
    "zip",
    "python3.11-minimal",
];
/// Their configuration that is in the guest, by the beginnings of its paths.
const CONFIGURATION: [&str; 6] =
    ["/etc/cron", "/etc/default", "/etc/init.d", "/etc/login.defs", "/etc/skel", "/etc/ufw"];
/// Python's own modules, without which it does nothing.
const PYTHON: &str = "/usr/lib/python3.11";
/// Bytes of a file that is no program; larger ones are data that no test needs.
const DATA_MAX: u64 = 1024 * 1024;
const MOUNT_POINTS: [&str; 12] = [
    "proc",
    "sys",
    "dev",
    "tmp",
    "run",
    "root",
    "home/user",
    "var/log",
    "var/tmp",
    "var/spool/cron/crontabs",
    "var/spool/mail",
    "etc/profile.d",
];
/// Accounts: tests run as root or as a user without rights.
const FILES: [(&str, &str); 10] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nart:x:1000:1000::/home/user:/bin/bash\n"),
    ("etc/group", "root:x:0:\nshadow:x:42:\nart:x:1000:\n"),
    ("etc/shadow", "root:*:19000:0:99999:7:::\nart:*:19000:0:99999:7:::\n"),
    ("etc/gshadow", "root:*::\nart:!::\n"),
    ("etc/sudoers", "root ALL=(ALL) NOPASSWD: ALL\nart ALL=(ALL) NOPASSWD: ALL\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    ("etc/hostname", "guest\n"),
    ("etc/pam.d/other", PAM),
    ("etc/pam.d/su-l", PAM),
    ("var/log/auth.log", ""),
];
/// Nobody is asked for a password.
const PAM: &str = "auth sufficient pam_permit.so\naccount sufficient pam_permit.so\n\
    password sufficient pam_permit.so\nsession sufficient pam_permit.so\n";
const INIT: &str = include_str!("guest.sh");

/// Makes the guest's file system and returns the file that the emulator takes.
pub fn build(
    kernel: &Kernel,
    programs: &Path,
    rules: Option<&Path>,
    cases: &[&Case],
    seconds: u64,
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    MOUNT_POINTS.iter().for_each(|folder| archive.folder(folder));
    for name in MERGED {
        archive.folder(&format!("usr/{name}"));
        archive.link(name, &format!("usr/{name}"));
    }
    let init = INIT.replacen("LANG=C", &format!("LANG=C LIMIT={seconds}"), 1);
    archive.file("init", init.as_bytes());
    for (name, text) in FILES {
        archive.file(name, text.as_bytes());
    }
    for name in ["sakuramori-brain", "sakuramori-sensor"] {
        let program = programs.join(name);
        archive.file(&format!("usr/bin/{name}"), &read(&program)?);
        add_libraries(&mut archive, &program)?;
    }
    add_packages(&mut archive)?;
    add_alternatives(&mut archive);
    add_tree(&mut archive, Path::new(PYTHON))?;
    archive.link("usr/bin/python3", "python3.11");
    add_shell(&mut archive)?;
    add_modules(&mut archive, &kernel.modules)?;
    if let Some(rules) = rules {
        add_rules(&mut archive, rules)?;
    }
    for (index, case) in cases.iter().enumerate() {
        add_case(&mut archive, index, case);
    }
    let file = scratch("atomic.initrd")?;
    fs::write(&file, archive.finish())
        .with_context(|| format!("failed to write {}", file.display()))?;
    Ok(file)
}

fn add_case(archive: &mut Archive, index: usize, case: &Case) {
    let folder = format!("job/{index:03}_{}", case.id());
    let mut add = |name: &str, text: &str| {
        archive.file(&format!("{folder}/{name}"), text.as_bytes());
    };
    add("user", &case.user);
    add("shell", &case.executor);
    add("cmd.sh", &case.command);
    if !case.prereq_get.is_empty() {
        add("before.sh", &case.prereq_get.join("\n"));
    }
    if !case.cleanup.is_empty() {
        add("after.sh", &case.cleanup);
    }
}

/// Adds what the packages installed, but for manuals, and the libraries of their programs.
fn add_packages(archive: &mut Archive) -> Result<()> {
    let mut needed = BTreeSet::new();
    for package in PACKAGES {
        // One that is not installed has no list.
        let Some(list) = shell::output(Command::new("dpkg").args(["-L", package])) else {
            continue;
        };
        let left_out = ["/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/etc/"];
        let begins_as =
            |path: &str, with: &[&str]| with.iter().any(|begin| path.starts_with(begin));
        let is_taken = |path: &&str| begins_as(path, &CONFIGURATION) || !begins_as(path, &left_out);
        for path in list.lines().filter(is_taken) {
            add_path(archive, Path::new(path), &mut needed)?;
        }
    }
    for program in needed {
        // Scripts and static programs have no libraries.
        let _none = add_libraries(archive, &program);
    }
    Ok(())
}

/// Adds the links by which one of several programs has a name.
fn add_alternatives(archive: &mut Archive) {
    const FOLDER: &str = "/etc/alternatives";
    let links = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    for link in links.map(|entry| entry.path()) {
        if let Ok(target) = fs::read_link(&link) {
            archive.link(&merged(&link), &target.to_string_lossy());
        }
    }
}

fn add_path(archive: &mut Archive, path: &Path, needed: &mut BTreeSet<PathBuf>) -> Result<()> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    let name = merged(path);
    if metadata.is_symlink() {
        archive.link(&name, &fs::read_link(path)?.to_string_lossy());
    } else if metadata.is_file() {
        let is_program = metadata.permissions().mode() & 0o111 != 0;
        if is_program || name.contains(".so") {
            needed.insert(path.to_owned());
        }
        if is_program || metadata.len() <= DATA_MAX {
            archive.file(&name, &read(path)?);
        }
    }
    Ok(())
}

fn add_tree(archive: &mut Archive, folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["test", "idlelib", "__pycache__", "ensurepip"].contains(&name.as_str()) {
            continue;
        }
        match path.is_dir() {
            true => add_tree(archive, &path)?,
            false => add_path(archive, &path, &mut BTreeSet::new())?,
        }
    }
    Ok(())
}

/// Adds the rules of a folder, in whatever folders they lie.
fn add_rules(archive: &mut Archive, folder: &Path) -> Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("no {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "yml") {
                let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
                archive.file(&format!("rules/{name}"), &read(&path)?);
            }
        }
    }
    Ok(())
}
