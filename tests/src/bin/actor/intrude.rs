//! The attacker's side of the demo. Each act leaves the traces of a real one and does no harm.

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::fexecve;

/// How long the pretended miner stays.
pub const MINER_SECONDS: u64 = 3;
/// Name under which a copy of this program pretends to be a miner.
const MINER: &str = "xmrig";
/// Pause between two ports of a scan; the whole stays within seconds, as common scanners do.
const SCAN_PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for one port.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);
/// Longest wait for the shell's words.
const SHELL_LIMIT: Duration = Duration::from_secs(2);
/// What the intruder types, line by line.
const TYPED: [&str; 4] = ["id\n", "uname -a\n", "ls /\n", "exit\n"];
/// Pause of someone who types.
const TYPING_PAUSE: Duration = Duration::from_millis(400);

/// Whether this copy was started under the miner's name.
pub fn plays_miner() -> bool {
    env::args_os().next().is_some_and(|name| Path::new(&name).ends_with(MINER))
}

/// Connects to every port of every target; a refusal is an answer as well.
pub fn scan(targets: &[IpAddr], first: u16, count: u16) -> Result<()> {
    for port in first..first.saturating_add(count) {
        for target in targets {
            let address = SocketAddr::new(*target, port);
            match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
                Ok(_) => println!("{address} open"),
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error).with_context(|| format!("no way to {address}")),
            }
            thread::sleep(SCAN_PAUSE);
        }
    }
    Ok(())
}

/// Plays the listener that a reverse shell calls.
pub fn listen_shell(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(SHELL_LIMIT))?;
    for line in TYPED {
        stream.write_all(line.as_bytes())?;
        thread::sleep(TYPING_PAUSE);
    }
    let mut said = Vec::new();
    // A shell that keeps the connection open ends the wait by the limit, which is no fault.
    let _ = stream.read_to_end(&mut said);
    if !String::from_utf8_lossy(&said).contains("uid=") {
        bail!("the shell did not answer");
    }
    Ok(())
}

/// Copies a program into an anonymous file in memory and becomes it.
pub fn memfd_exec(program: &Path, arguments: &[String]) -> Result<()> {
    let memory = memfd_create(c"payload", MFdFlags::MFD_CLOEXEC)?;
    let mut memory = File::from(memory);
    std::io::copy(&mut File::open(program)?, &mut memory).context("failed to copy the program")?;
    let name = CString::new(program.as_os_str().as_bytes())?;
    let rest = arguments.iter().map(|argument| CString::new(argument.as_str()));
    let argv: Vec<CString> = std::iter::once(Ok(name)).chain(rest).collect::<Result<_, _>>()?;
    let environment: [&std::ffi::CStr; 0] = [];
    match fexecve(&memory, &argv, &environment)? {}
}

/// Connects once; whoever is there may refuse.
pub fn connect(address: SocketAddr) -> Result<()> {
    match TcpStream::connect_timeout(&address, CONNECT_LIMIT) {
        Ok(mut stream) => stream.write_all(b"hello\n").context("failed to send"),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error).with_context(|| format!("no way to {address}")),
    }
}

/// Does nothing for a while.
pub fn idle(seconds: u64) -> Result<()> {
    thread::sleep(Duration::from_secs(seconds));
    Ok(())
}
