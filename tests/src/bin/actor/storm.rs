//! The workloads of `bench`: one operation, repeated, timed from inside.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Subcommand;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::getppid;
use serde_json::json;

/// Which operation to repeat.
#[derive(Debug, Subcommand)]
pub enum Storm {
    /// The cheapest system call there is.
    Syscall { count: u64 },
    /// `posix_spawn` of a program that ends at once.
    Exec { count: u64 },
    /// A file, opened for reading and closed.
    Open { file: PathBuf, count: u64 },
    /// A TCP connection, opened and closed.
    Connect { server: SocketAddr, count: u64 },
    /// Small datagrams, from a number of ports in turn.
    Flood { server: SocketAddr, count: u64, flows: usize },
}

impl Storm {
    /// Runs the storm and prints count and nanoseconds.
    pub fn run(self) -> Result<()> {
        let start = Instant::now();
        let count = match self {
            Self::Syscall { count } => syscalls(count),
            Self::Exec { count } => execs(count)?,
            Self::Open { file, count } => opens(&file, count)?,
            Self::Connect { server, count } => connects(server, count)?,
            Self::Flood { server, count, flows } => floods(server, count, flows)?,
        };
        println!("{}", json!({ "count": count, "nanoseconds": start.elapsed().as_nanos() as u64 }));
        Ok(())
    }
}

fn syscalls(count: u64) -> u64 {
    for _ in 0..count {
        std::hint::black_box(getppid());
    }
    count
}

fn execs(count: u64) -> Result<u64> {
    for _ in 0..count {
        let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
        ensure!(status.success(), "/bin/true failed");
    }
    Ok(count)
}

fn connects(server: SocketAddr, count: u64) -> Result<u64> {
    for _ in 0..count {
        let mut stream = TcpStream::connect(server)?;
        // The server closes first, so its side keeps the waiting states and ports never run out.
        let mut end = [0; 1];
        ensure!(stream.read(&mut end)? == 0, "the server said something");
    }
    Ok(count)
}

fn opens(file: &Path, count: u64) -> Result<u64> {
    for _ in 0..count {
        drop(File::open(file)?);
    }
    Ok(count)
}

fn floods(server: SocketAddr, count: u64, flows: usize) -> Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let sockets: Vec<UdpSocket> =
        (0..flows).map(|_| UdpSocket::bind(any)).collect::<std::io::Result<_>>()?;
    sockets.iter().try_for_each(|socket| socket.connect(server))?;
    for number in 0..count as usize {
        // A full queue on the way is the flood's doing, and no error of it.
        let _ = sockets[number % flows].send(&[0; 16]);
    }
    Ok(count)
}

/// Takes datagrams in and never reads them, until it is ended.
pub fn datagram_sink(address: SocketAddr) -> Result<()> {
    let _socket = UdpSocket::bind(address)?;
    loop {
        std::thread::park();
    }
}

/// Accepts and closes until it is ended.
pub fn accept_serve(address: SocketAddr) -> Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        drop(stream?);
    }
    Ok(())
}
