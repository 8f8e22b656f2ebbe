//! Processes that talk through sockets, for trials that count what each of them said.
//!
//! They are forked and use system calls only; what std's sockets do besides allocates nothing.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, RawFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
};

use anyhow::{Result, ensure};
use nix::libc;

/// What a client asks and a worker answers, in bytes.
pub const ASKED: u64 = 100_000;
pub const ANSWERED: u64 = 54_321;
/// Datagrams that a client sends; each is as long as its number tells.
pub const DATAGRAMS: u64 = 5;
/// What the first and the second holder of a connection send.
pub const FIRST: u64 = 10;
pub const SECOND: u64 = 2_000;

/// Ids of processes that a process started, told through memory that they share.
pub struct Roles(&'static [AtomicU32; 8]);

/// Who is who in [`Roles`].
#[derive(Clone, Copy)]
pub enum Role {
    Client = 0,
    Worker = 1,
    Other = 2,
}

impl Roles {
    pub fn new() -> Result<Self> {
        // SAFETY: a new page of zeros that nobody frees, larger than the numbers and aligned.
        unsafe {
            let (read_write, shared) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
            let page = libc::mmap(ptr::null_mut(), 4096, read_write, shared, -1, 0);
            ensure!(page != libc::MAP_FAILED, "no shared memory");
            Ok(Self(&*page.cast()))
        }
    }

    pub fn pid(&self, role: Role) -> u32 {
        self.0[role as usize].load(SeqCst)
    }

    /// Forks a process that does `work`; returns its id.
    fn start(&self, role: Role, work: impl FnOnce() -> Option<()>) -> Option<i32> {
        // SAFETY: the child makes system calls only and leaves with `_exit`.
        match unsafe { libc::fork() } {
            -1 => None,
            0 => {
                self.0[role as usize].store(std::process::id(), SeqCst);
                let failed = i32::from(work().is_none());
                // SAFETY: ends the child without running anything of the parent's.
                unsafe { libc::_exit(failed) }
            }
            child => Some(child),
        }
    }
}

/// Waits for a process, which has to end well.
fn wait(child: i32) -> Option<()> {
    let mut status = 0;
    // SAFETY: a child of ours, and a status that lives through the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    (waited == child && status == 0).then_some(())
}

/// Reads to the end; returns how much there was.
fn read_all(stream: &mut TcpStream) -> Option<u64> {
    let (mut buffer, mut total) = ([0; 7_777], 0);
    loop {
        match stream.read(&mut buffer).ok()? {
            0 => return Some(total),
            read => total += read as u64,
        }
    }
}

fn write_all(stream: &mut TcpStream, length: u64) -> Option<()> {
    let (buffer, mut left) = ([7; 3_333], length as usize);
    while left > 0 {
        left -= stream.write(&buffer[..left.min(buffer.len())]).ok()?;
    }
    Some(())
}

/// Listens and accepts, while a worker answers, as `sshd` and pre-forking servers do.
pub fn serve_by_worker(at: SocketAddr, roles: &Roles) -> Option<()> {
    let listener = TcpListener::bind(at).ok()?;
    let client = roles.start(Role::Client, || {
        let mut stream = TcpStream::connect(at).ok()?;
        write_all(&mut stream, ASKED)?;
        stream.shutdown(Shutdown::Write).ok()?;
        (read_all(&mut stream)? == ANSWERED).then_some(())
    })?;
    let (mut stream, _) = listener.accept().ok()?;
    let worker = roles.start(Role::Worker, || {
        // What is only looked at is not received.
        stream.peek(&mut [0; 9]).ok()?;
        (read_all(&mut stream)? == ASKED).then_some(())?;
        write_all(&mut stream, ANSWERED)
    })?;
    drop(stream);
    wait(client)?;
    wait(worker)
}

/// A server that answers each datagram in the same length, a client that connects its socket, and
/// one that does not.
pub fn exchange_datagrams(at: SocketAddr, roles: &Roles) -> Option<()> {
    let server = UdpSocket::bind(at).ok()?;
    let ask = |connects: bool| {
        let socket = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).ok()?;
        if connects {
            socket.connect(at).ok()?;
        }
        for length in 1..=DATAGRAMS as usize {
            let datagram = [1; DATAGRAMS as usize];
            let datagram = &datagram[..length];
            let sent = if connects { socket.send(datagram) } else { socket.send_to(datagram, at) };
            (sent.ok()? == length).then_some(())?;
            let (received, _) = socket.recv_from(&mut [0; 64]).ok()?;
            (received == length).then_some(())?;
        }
        Some(())
    };
    let worker = roles.start(Role::Worker, || {
        for _ in 0..2 * DATAGRAMS {
            let mut buffer = [0; 64];
            let (length, from) = server.recv_from(&mut buffer).ok()?;
            server.send_to(&buffer[..length], from).ok()?;
        }
        Some(())
    })?;
    let connected = roles.start(Role::Client, || ask(true))?;
    wait(connected)?;
    let unconnected = roles.start(Role::Other, || ask(false))?;
    wait(unconnected)?;
    wait(worker)
}

/// A client that hands its connection to another process, which was there before.
pub fn hand_over(at: SocketAddr, roles: &Roles) -> Option<()> {
    let listener = TcpListener::bind(at).ok()?;
    let mut ends = [0; 2];
    // SAFETY: two descriptors go into an array of two.
    let made = unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, ends.as_mut_ptr()) };
    (made == 0).then_some(())?;
    let other = roles.start(Role::Other, || {
        let mut stream = receive_descriptor(ends[1])?;
        write_all(&mut stream, SECOND)
    })?;
    let client = roles.start(Role::Client, || {
        let mut stream = TcpStream::connect(at).ok()?;
        write_all(&mut stream, FIRST)?;
        send_descriptor(ends[0], stream.as_raw_fd())
    })?;
    let (mut stream, _) = listener.accept().ok()?;
    let worker =
        roles.start(Role::Worker, || (read_all(&mut stream)? == FIRST + SECOND).then_some(()))?;
    drop(stream);
    wait(client)?;
    wait(other)?;
    wait(worker)
}

/// Sends one byte through each of many sockets; returns whether all took it.
pub fn many_sockets(at: SocketAddr, sockets: u32) -> Option<()> {
    for _ in 0..sockets {
        let socket = UdpSocket::bind(SocketAddr::new(at.ip(), 0)).ok()?;
        socket.connect(at).ok()?;
        (socket.send(&[1]).ok()? == 1).then_some(())?;
    }
    Some(())
}

/// Room for one descriptor in a control message, aligned as one.
#[repr(C, align(8))]
struct Control([u8; 24]);

fn message<'a>(bytes: &'a mut libc::iovec, control: &'a mut Control) -> libc::msghdr {
    // SAFETY: a header of zeros is one without anything in it.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (bytes, 1);
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    header
}

fn send_descriptor(through: RawFd, descriptor: RawFd) -> Option<()> {
    let (mut byte, mut control) = (1_u8, Control([0; 24]));
    let mut bytes = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let header = message(&mut bytes, &mut control);
    // SAFETY: the control message has room for one descriptor; everything lives through the call.
    let sent = unsafe {
        let part = libc::CMSG_FIRSTHDR(&raw const header);
        (*part).cmsg_level = libc::SOL_SOCKET;
        (*part).cmsg_type = libc::SCM_RIGHTS;
        (*part).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(part).cast(), descriptor);
        libc::sendmsg(through, &raw const header, 0)
    };
    (sent == 1).then_some(())
}

fn receive_descriptor(through: RawFd) -> Option<TcpStream> {
    let (mut byte, mut control) = (0_u8, Control([0; 24]));
    let mut bytes = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let mut header = message(&mut bytes, &mut control);
    // SAFETY: as above; the kernel put a descriptor there that belongs to nobody else.
    unsafe {
        if libc::recvmsg(through, &raw mut header, 0) != 1 {
            return None;
        }
        let part = libc::CMSG_FIRSTHDR(&raw const header);
        if part.is_null() {
            return None;
        }
        Some(TcpStream::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(part).cast())))
    }
}
