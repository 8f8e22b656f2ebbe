//! The workloads of `bench`: one operation, repeated, timed from inside.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Subcommand;
use nix::unistd::getppid;
use serde_json::json;

/// Which operation to repeat.
#[derive(Debug, Subcommand)]
pub enum Storm {
    /// The cheapest system call there is.
    Syscall { count: u64 },
    /// `posix_spawn` of a program that ends at once.
    Exec { count: u64 },
    /// A TCP connection, opened and closed.
    Connect { server: SocketAddr, count: u64 },
}

impl Storm {
    /// Runs the storm and prints count and nanoseconds.
    pub fn run(self) -> Result<()> {
        let start = Instant::now();
        let count = match self {
            Self::Syscall { count } => syscalls(count),
            Self::Exec { count } => execs(count)?,
            Self::Connect { server, count } => connects(server, count)?,
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

/// Accepts and closes until it is ended.
pub fn accept_serve(address: SocketAddr) -> Result<()> {
    for stream in TcpListener::bind(address)?.incoming() {
        drop(stream?);
    }
    Ok(())
}
