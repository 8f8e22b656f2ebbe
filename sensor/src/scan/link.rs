//! The connection to the scanner: hands over rules and files, waits a bounded time for each answer.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, setsockopt, socket,
    sockopt::{ReceiveTimeout, SendTimeout},
};
use nix::sys::time::{TimeVal, TimeValLike};
use scanner_abi::message::{self, Answer, Compiled, MessageError, Request};

use crate::privileged;
use crate::privileged::protocol::{self, Request as Ask};

/// Files up to this size are scanned; larger ones carry their data along, and would take the
/// scanner's memory.
pub const SIZE_MAX: u64 = 32 * 1024 * 1024;
/// Time for one file. An ordinary one takes milliseconds, with thousands of rules.
const SCAN_TIME: Duration = Duration::from_secs(10);
/// Time to compile all rules, on a busy host at the lowest priority.
const COMPILE_TIME: Duration = Duration::from_secs(100);
/// What the scanner may take beyond that before it is given up. It ends itself a little earlier.
const GRACE: Duration = Duration::from_secs(5);

/// Connects to where the scanner listens, without waiting for one that is busy.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    connect_to(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// A connection that works.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    number: u32,
}

impl Link {
    /// Connects, through the loader where there is one.
    pub fn open(path: &Path) -> io::Result<Self> {
        let socket = match privileged::loader() {
            Some(loader) => loader.descriptor(&Ask::of(protocol::OPEN_SCANNER, 0, 0))?,
            None => connect(path)?,
        };
        let flags = OFlag::from_bits_retain(fcntl(&socket, FcntlArg::F_GETFL)?);
        fcntl(&socket, FcntlArg::F_SETFL(flags & !OFlag::O_NONBLOCK))?;
        Ok(Self { socket, number: 0 })
    }

    /// Has a bundle compiled, which lies in a file.
    pub fn compile(&mut self, bundle: &File) -> Result<Compiled, MessageError> {
        self.ask(message::RULES, bundle, COMPILE_TIME)?.compiled()
    }

    /// Has a file scanned.
    pub fn scan(&mut self, file: &File) -> Result<Answer, MessageError> {
        self.ask(message::SCAN, file, SCAN_TIME)
    }

    fn ask(&mut self, kind: u32, file: &File, time: Duration) -> Result<Answer, MessageError> {
        self.number = self.number.wrapping_add(1);
        let time_ms = time.as_millis() as u32;
        let (number, size_max) = (self.number, SIZE_MAX);
        let request = Request { number, kind, time_ms, reserved: 0, size_max };
        let patience = TimeVal::milliseconds((time + GRACE).as_millis() as i64);
        let set = setsockopt(&self.socket, ReceiveTimeout, &patience);
        set.and_then(|()| setsockopt(&self.socket, SendTimeout, &patience))
            .map_err(io::Error::from)?;
        message::ask(self.socket.as_fd(), &request, file.as_fd())?;
        message::answered(self.socket.as_fd(), number)
    }
}
