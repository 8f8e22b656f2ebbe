//! A web server and its client, as small as the protocol allows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};

/// The page; some kilobytes, so that a transfer is more than one segment.
const PAGE_BYTES: usize = 8 * 1024;
/// Longest wait for the other side.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until it is ended.
pub fn serve(address: SocketAddr) -> Result<()> {
    let page = "x".repeat(PAGE_BYTES);
    for stream in TcpListener::bind(address)?.incoming() {
        // A client that goes away early is no reason to stop serving the others.
        let _ = answer(stream?, &page);
    }
    Ok(())
}

fn answer(mut stream: TcpStream, page: &str) -> Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(PAGE_BYTES as u64));
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && !line.trim().is_empty() {
        line.clear();
    }
    let length = page.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    stream.write_all(page.as_bytes())?;
    Ok(())
}

/// Gets the page several times, each over its own connection.
pub fn get(server: SocketAddr, count: u32) -> Result<()> {
    for _ in 0..count {
        let mut stream = TcpStream::connect_timeout(&server, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        stream.read_to_end(&mut page)?;
        ensure!(page.starts_with(b"HTTP/1.1 200"), "{server} did not answer with a page");
    }
    Ok(())
}
