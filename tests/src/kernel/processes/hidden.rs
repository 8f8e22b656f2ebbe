//! Programs that hide what they are, and strings that try to break what reads them.

use std::{
    ffi::{CString, OsStr},
    fs::{self, File},
    io::{Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, process::CommandExt as _},
    },
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor_abi::record::{exec::ARGS_MAX, exec_flag};

use super::{SHELL, TRUE, copy_of_true, exec_by, exec_of, resolved, settings};
use crate::{
    figure,
    kernel::{
        child,
        watch::{Watch, unavailable},
    },
    skip::trial,
};

/// How often a second thread gets its chance to change an argument.
const RACES: u32 = 40;
/// Dynamic loaders, which run a program that they are given as an argument.
const LOADERS: [&str; 3] =
    ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1"];

pub fn trials() -> Vec<Trial> {
    vec![
        trial("processes::a_memfd_without_any_path_is_told", execveat),
        trial("processes::a_program_run_by_the_loader_is_in_its_arguments", loader),
        trial("processes::another_name_does_not_change_the_file", renamed),
        trial("processes::hostile_strings_arrive_byte_for_byte", hostile),
        trial("processes::arguments_are_those_that_the_program_got", race),
    ]
}

fn execveat() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    // SAFETY: a string that ends with NUL; the descriptor is new and owned from here on.
    let mut file = unsafe { File::from_raw_fd(libc::memfd_create(c"x".as_ptr(), 0)) };
    file.write_all(&fs::read(TRUE)?)?;
    let raw = file.as_raw_fd();
    let (id, status) = child::run(|| {
        let args = [c"true".as_ptr(), std::ptr::null()];
        let env = [std::ptr::null::<libc::c_char>()];
        // SAFETY: both lists end with a null pointer and outlive the call.
        unsafe {
            let path = c"".as_ptr();
            libc::syscall(
                libc::SYS_execveat,
                raw,
                path,
                args.as_ptr(),
                env.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        99
    })?;
    ensure!(libc::WEXITSTATUS(status) != 99, "execveat failed");
    let exec = exec_by(&mut watch, id)?;
    ensure!(exec.flags & exec_flag::MEMFD != 0, "flags {:#x}", exec.flags);
    ensure!(exec.path == b"/memfd:x", "{}", exec.path.escape_ascii());
    ensure!(exec.args == b"true\0" && exec.env.is_empty(), "{exec:?}");
    figure::tell("E-04", "execveat of a memory file by an empty path: told");
    Ok(Completion::Completed)
}

fn loader() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(loader) = LOADERS.iter().find(|path| Path::new(path).exists()) else {
        return Ok(Completion::ignored_with("there is no dynamic loader here"));
    };
    let mut watch = Watch::start(&settings())?;
    let exec = exec_of(&mut watch, Command::new(loader).arg(TRUE))?;
    ensure!(exec.path == resolved(loader)?, "{}", exec.path.escape_ascii());
    ensure!(exec.args.ends_with(b"\0/bin/true\0"), "{}", exec.args.escape_ascii());
    figure::tell("E-07", "the dynamic loader called by hand: told, the program is its argument");
    Ok(Completion::Completed)
}

fn renamed() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("innocent");
    copy_of_true(&program, 0o755)?;
    let first = exec_of(&mut watch, Command::new(&program).arg0("[kworker/0:1]"))?;
    ensure!(first.args == b"[kworker/0:1]\0", "{}", first.args.escape_ascii());
    ensure!(first.path.ends_with(b"/innocent"), "{}", first.path.escape_ascii());
    fs::rename(&program, folder.path().join("sshd"))?;
    let second = exec_of(&mut watch, &mut Command::new(folder.path().join("sshd")))?;
    ensure!(second.path.ends_with(b"/sshd"), "{}", second.path.escape_ascii());
    let identity = |exec: &super::Exec| (exec.exe_dev, exec.exe_inode, exec.exe_mtime_ns);
    ensure!(identity(&first) == identity(&second), "{:?} {:?}", first.fixed, second.fixed);
    figure::tell("E-06", "copied, renamed, `exec -a`: 2 of 2 told with the file's path and inode");
    Ok(Completion::Completed)
}

fn hostile() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let folder = tempfile::tempdir()?;
    let name: &[u8] = b"\n\x1b[2J\"<script>\xff\xfe%s%n";
    let program = folder.path().join(OsStr::from_bytes(name));
    copy_of_true(&program, 0o755)?;
    let arguments: [&[u8]; 5] =
        [b"two\nlines", b"\x1b]0;title\x07", b"'\"`$(id)", b"\xc3\x28\xff", b""];
    let mut command = Command::new(&program);
    command.arg0("%s%n\n").args(arguments.map(OsStr::from_bytes));
    let exec = exec_of(&mut watch, &mut command)?;
    ensure!(exec.path.ends_with(name), "{}", exec.path.escape_ascii());
    ensure!(exec.comm[..15] == name[..15], "{}", exec.comm.escape_ascii());
    let mut expected = b"%s%n\n\0".to_vec();
    arguments.iter().for_each(|argument| expected.extend([argument, &b"\0"[..]].concat()));
    ensure!(exec.args == expected, "{}", exec.args.escape_ascii());
    ensure!(exec.flags == 0, "flags {:#x}", exec.flags);
    // Ten thousand characters of all of it, and a path of 4 095 bytes.
    let long = b"\n\"\x1b\xff'".repeat(2_000);
    let exec = exec_of(&mut watch, Command::new(&program).arg(OsStr::from_bytes(&long)))?;
    ensure!(exec.flags & exec_flag::ARGS_TRUNCATED != 0 && exec.args.len() == ARGS_MAX, "{exec:?}");
    ensure!(
        exec.args[ARGS_MAX - 1_000..] == long[long.len() - 1_000..][..1_000] || {
            let start = exec.args.len() - (ARGS_MAX - program.as_os_str().len() - 1);
            exec.args[start..] == long[..ARGS_MAX - start]
        }
    );
    // The longest argument that the kernel takes.
    let longest = vec![b'y'; 128 * 1024 - 1];
    let exec = exec_of(&mut watch, Command::new(&program).arg(OsStr::from_bytes(&longest)))?;
    ensure!(exec.flags & exec_flag::ARGS_TRUNCATED != 0 && exec.args.len() == ARGS_MAX, "{exec:?}");
    longest_path(&mut watch, folder.path())?;
    figure::tell(
        "S-14",
        "5 hostile arguments, name and comm byte for byte; arguments of 10 000 and 131 071 bytes \
         and a path of 4 095: 3 of 3 cut and flagged",
    );
    Ok(Completion::Completed)
}

/// Executes a program whose path is as long as the kernel allows.
fn longest_path(watch: &mut Watch, folder: &Path) -> Result<()> {
    const PATH_MAX: usize = 4_095;
    let mut place = folder.canonicalize()?;
    while place.as_os_str().len() + 201 < PATH_MAX - 20 {
        place.push("d".repeat(200));
    }
    fs::create_dir_all(&place)?;
    let program = place.join("p".repeat(PATH_MAX - place.as_os_str().len() - 1));
    copy_of_true(&program, 0o755)?;
    let exec = exec_of(watch, &mut Command::new(&program))?;
    let whole = program.as_os_str().as_bytes();
    ensure!(exec.flags & exec_flag::PATH_TRUNCATED != 0, "flags {:#x}", exec.flags);
    ensure!(!exec.path.is_empty() && whole.ends_with(&exec.path), "{}", exec.path.escape_ascii());
    Ok(())
}

/// A second thread rewrites an argument while the program is executed; what is told must be what
/// the program got, whichever it was.
fn race() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let mut variants = [0; 2];
    for _ in 0..RACES {
        let (mut told, out) = pipe()?;
        let pid = child::start(|| raced(out.as_raw_fd()))?;
        drop(out);
        let mut got = Vec::new();
        told.read_to_end(&mut got)?;
        let mut status = 0;
        // SAFETY: a child of ours, and a status that lives through the call.
        unsafe { libc::waitpid(pid.as_raw(), &raw mut status, 0) };
        let exec = exec_by(&mut watch, pid.as_raw() as u32)?;
        let args: Vec<&[u8]> = exec.args.split(|byte| *byte == 0).collect();
        let argument = *args.get(3).context("the argument is missing")?;
        ensure!(argument == got, "{} told, {} got", argument.escape_ascii(), got.escape_ascii());
        variants[usize::from(got.starts_with(b"B"))] += 1;
    }
    let [first, other] = variants;
    let figure = format!(
        "{RACES} of {RACES} told as the program got them: {first} as passed, {other} as rewritten"
    );
    figure::tell("E-01", figure);
    Ok(Completion::Completed)
}

fn pipe() -> Result<(File, OwnedFd)> {
    let (read, write) = nix::unistd::pipe()?;
    Ok((File::from(read), write))
}

/// Executes a shell that prints its argument, while a second thread rewrites that.
fn raced(out: i32) -> i32 {
    const STACK: usize = 64 * 1024;
    extern "C" fn rewrite(argument: *mut libc::c_void) -> libc::c_int {
        let text: *mut u8 = argument.cast();
        loop {
            for byte in [b'A', b'B'] {
                // SAFETY: the text outlives the thread, which ends when the program is executed.
                unsafe { text.write_volatile(byte) };
            }
        }
    }
    let text = c"AAAA".to_owned().into_raw();
    let shell = CString::new(SHELL).unwrap_or_default();
    let args =
        [shell.as_ptr(), c"-c".as_ptr(), c"printf %s \"$0\"".as_ptr(), text, std::ptr::null()];
    let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FS;
    // SAFETY: the new thread has a stack of its own, which nobody frees, and makes no call; the
    // list of arguments ends with a null pointer.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if libc::clone(rewrite, stack.byte_add(STACK), flags, text.cast()) < 0 {
            return 1;
        }
        libc::dup2(out, 1);
        libc::execv(shell.as_ptr(), args.as_ptr());
    }
    2
}
