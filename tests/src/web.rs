//! A small HTTP client for the brain on loopback: one request, one answer, one connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// A brain on loopback answers in milliseconds; more is a fault worth reporting.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is read; the metrics of a small fleet are some 100 KiB.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// Gets a page and returns its status and body.
pub fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    // HTTP/1.0 keeps the answer in one piece, so no transfer coding has to be undone.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("failed to connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).context("failed to read the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of headers")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((status.context("the answer has no status")?, body.to_owned()))
}

/// Sums all samples of one metric whose labels contain `label`; absent metrics sum to zero.
pub fn metric(page: &str, name: &str, label: &str) -> f64 {
    page.lines()
        .filter(|line| line.starts_with(name) && line.contains(label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
