//! Tells shells from other programs, and a shell for a person from one that runs a command.

use crate::record::Process;

/// Names of shells' executables.
const SHELLS: [&[u8]; 14] = [
    b"sh", b"bash", b"rbash", b"dash", b"ash", b"zsh", b"rzsh", b"ksh", b"ksh93", b"mksh", b"oksh",
    b"fish", b"csh", b"tcsh",
];

/// Names of interpreters' executables; versions may follow.
const INTERPRETERS: [&[u8]; 9] =
    [b"python", b"perl", b"ruby", b"php", b"lua", b"node", b"tclsh", b"expect", b"gawk"];

/// Long options of shells that stand before an interactive session.
const SESSION_OPTIONS: [&[u8]; 7] = [
    b"--login",
    b"--norc",
    b"--noprofile",
    b"--noediting",
    b"--posix",
    b"--restricted",
    b"--verbose",
];

/// How a shell was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Session {
    /// With `-i`: it obeys its input as a person's, wherever that comes from.
    Explicit,
    /// Without a command or script: interactive if its input is a terminal.
    Bare,
    /// To run a command or script.
    Command,
}

/// Returns whether the process runs a shell, by its file's name or by the name it was called.
pub(super) fn is_shell(process: &Process) -> bool {
    is_shell_name(process.exe_name()) || called(process).is_some_and(is_shell_name)
}

/// Returns whether the process runs an interpreter of scripts.
pub(super) fn is_interpreter(process: &Process) -> bool {
    let name = process.exe_name();
    let version = |rest: &[u8]| rest.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    INTERPRETERS.iter().any(|known| name.strip_prefix(*known).is_some_and(version))
}

fn is_shell_name(name: &[u8]) -> bool {
    SHELLS.contains(&name)
}

/// Returns the last part of the name that the program was called by; a login shell's begins with
/// `-`.
fn called(process: &Process) -> Option<&[u8]> {
    let name = process.arguments().next()?.rsplit(|&byte| byte == b'/').next()?;
    Some(name.strip_prefix(b"-").unwrap_or(name))
}

/// Returns how the shell was started, judged by its arguments.
pub(super) fn session(process: &Process) -> Session {
    let mut session = Session::Bare;
    let mut arguments = process.arguments().skip(1);
    while let Some(argument) = arguments.next() {
        match argument {
            b"-" | b"--" => {}
            b"--rcfile" | b"--init-file" | b"-o" | b"+o" | b"-O" | b"+O" => {
                arguments.next();
            }
            long if long.starts_with(b"--") => {
                if !SESSION_OPTIONS.contains(&long) {
                    return Session::Command;
                }
            }
            [b'-' | b'+', letters @ ..] => {
                if letters.contains(&b'c') {
                    return Session::Command;
                }
                if letters.contains(&b'i') {
                    session = Session::Explicit;
                }
            }
            // The first word that is not an option is a script.
            _ => return Session::Command,
        }
    }
    session
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(exe: &'static str, command: &str) -> Process {
        let args: String = command.split(' ').flat_map(|word| [word, "\0"]).collect();
        let mut process = Process::default();
        (process.exe, process.args) = (exe.into(), args.into());
        process
    }

    #[test]
    fn shells_are_known_by_file_or_by_call() {
        assert!(is_shell(&process("/usr/bin/bash", "bash")));
        assert!(is_shell(&process("/bin/busybox", "sh -i")));
        assert!(is_shell(&process("/tmp/x", "-bash")));
        assert!(!is_shell(&process("/usr/bin/ssh", "ssh host")));
        assert!(is_interpreter(&process("/usr/bin/python3.11", "python3 x.py")));
        assert!(!is_interpreter(&process("/usr/bin/perldoc", "perldoc x")));
    }

    #[test]
    fn a_session_is_told_from_a_command() {
        for (command, expected) in [
            ("bash", Session::Bare),
            ("-bash", Session::Bare),
            ("bash -i", Session::Explicit),
            ("bash --norc -li", Session::Explicit),
            ("sh -c id", Session::Command),
            ("bash -ic id", Session::Command),
            ("bash script.sh", Session::Command),
            ("bash --rcfile /x", Session::Bare),
            ("bash --version", Session::Command),
        ] {
            assert_eq!(session(&process("/bin/bash", command)), expected, "{command}");
        }
    }
}
