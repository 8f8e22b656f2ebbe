//! A webhook sink on loopback: it plays Slack and keeps what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

/// Messages kept; a demo sends some ten.
const KEPT_MAX: usize = 10_000;
/// Largest message read; Slack's own limit is below 100 KiB.
const BODY_MAX: u64 = 1024 * 1024;
/// Longest wait for a sender.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A running sink. Its thread ends with the process, as it holds nothing but a socket.
#[derive(Debug, Clone)]
pub struct Sink {
    address: SocketAddr,
    messages: Arc<Mutex<Vec<Value>>>,
}

impl Sink {
    /// Opens a sink on a free port of loopback.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("failed to open the sink")?;
        let sink = Self { address: listener.local_addr()?, messages: Arc::default() };
        let messages = Arc::clone(&sink.messages);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One at a time is enough: the brain sends its messages in order.
                if let Ok(Some(message)) = receive(stream) {
                    let mut kept = messages.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() < KEPT_MAX {
                        kept.push(message);
                    }
                }
            }
        });
        Ok(sink)
    }

    /// The address to send to.
    pub fn url(&self) -> String {
        format!("http://{}/services/demo", self.address)
    }

    /// Everything received so far.
    pub fn messages(&self) -> Vec<Value> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads one request and answers it; a body that is no JSON is answered like Slack does.
fn receive(mut stream: TcpStream) -> Result<Option<Value>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?.take(BODY_MAX));
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let message = serde_json::from_slice(&body).ok();
    let (status, text) =
        if message.is_some() { ("200 OK", "ok") } else { ("400 Bad Request", "invalid_payload") };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )?;
    Ok(message)
}
