//! The worker's end: asks, waits a bounded time, and says what came of it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::ReceiveTimeout};
use nix::sys::time::{TimeVal, TimeValLike};

use super::protocol::{self, Answer, Refusal, Request};

/// The loader answers at once; one that does not is stopped or gone.
const ANSWER_TIME: Duration = Duration::from_secs(3);
/// Loading every program takes minutes on an emulated machine.
const START_TIME: Duration = Duration::from_secs(300);

/// The way to the loader.
#[derive(Debug)]
pub struct Remote {
    socket: Mutex<OwnedFd>,
    number: AtomicU32,
}

impl Remote {
    /// Takes the worker's end of the pair.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket: Mutex::new(socket), number: AtomicU32::new(0) }
    }

    /// Asks, and returns the answer, or why there is none.
    pub fn ask(&self, request: &Request) -> io::Result<Answer> {
        self.ask_about(request, &[])
    }

    fn ask_about(&self, request: &Request, path: &[u8]) -> io::Result<Answer> {
        let time = if request.kind == protocol::START { START_TIME } else { ANSWER_TIME };
        let number = self.number.fetch_add(1, Relaxed).wrapping_add(1);
        let request = Request { number, ..*request };
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        setsockopt(&*socket, ReceiveTimeout, &TimeVal::milliseconds(time.as_millis() as i64))?;
        protocol::send_request(socket.as_fd(), &request, path)?;
        protocol::receive_answer(socket.as_fd(), number)?.map_err(said)
    }

    /// Asks for bytes.
    pub fn bytes(&self, request: &Request) -> io::Result<Vec<u8>> {
        self.ask(request).map(|answer| answer.bytes)
    }

    /// Asks for a descriptor.
    pub fn descriptor(&self, request: &Request) -> io::Result<OwnedFd> {
        self.descriptor_of(request, &[])
    }

    /// Asks for a descriptor of what has a path.
    pub fn descriptor_of(&self, request: &Request, path: &[u8]) -> io::Result<OwnedFd> {
        let mut answer = self.ask_about(request, path)?;
        answer.descriptors.pop().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Tells something that has no answer worth waiting for; a loader that is gone ends the worker
    /// by itself.
    pub fn tell(&self, kind: u32) {
        if let Err(error) = self.ask(&Request::of(kind, 0, 0)) {
            tracing::warn!(kind, %error, "the loader does not answer");
        }
    }
}

fn said(refusal: Refusal) -> io::Error {
    let error = io::Error::from_raw_os_error(refusal.errno);
    if refusal.text.is_empty() { error } else { io::Error::new(error.kind(), refusal.text) }
}
