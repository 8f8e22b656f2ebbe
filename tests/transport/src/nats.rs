//! NATS JetStream on loopback: a server of our own, and as much of its protocol as publishing with
//! acknowledgements takes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::ingest::{Frames, SENDERS, Turn, WINDOW};

/// The program, which Debian has in a package of that name.
const PROGRAM: &str = "nats-server";

/// Where Debian puts it; it is not on everybody's path.
const FOLDERS: [&str; 3] = ["/usr/sbin", "/usr/bin", "/usr/local/bin"];

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(10);

/// An answer that takes longer has failed.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A server that ends with its guard.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one with its files below `folder`; nothing when it is not installed.
    pub fn start(folder: &Path) -> Result<Option<Self>> {
        let programs = FOLDERS.iter().map(|folder| Path::new(folder).join(PROGRAM));
        let Some(program) = programs.into_iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = free.local_addr()?;
        drop(free);
        let mut command = Command::new(program);
        command.args(["-a", "127.0.0.1", "-p", &address.port().to_string(), "-js", "-sd"]);
        command.arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("failed to start the NATS server")?;
        let server = Self { child, address };
        let end = Instant::now() + START_LIMIT;
        while TcpStream::connect(address).is_err() {
            ensure!(Instant::now() < end, "the NATS server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Some(server))
    }

    /// Publishes frames for a while, each sender with its own connection, to a new stream that is
    /// removed afterwards.
    pub fn turn(&self, number: usize, frames: &Arc<Frames>, time: Duration) -> Result<Turn> {
        let mut control = Client::connect(self.address)?;
        let stream = format!("bench{number}");
        let settings = format!(
            "{{\"name\":\"{stream}\",\"subjects\":[\"{stream}\"],\"storage\":\"file\",\
             \"retention\":\"limits\",\"num_replicas\":1}}"
        );
        control.ask(&format!("$JS.API.STREAM.CREATE.{stream}"), settings.as_bytes())?;
        let start = Instant::now();
        let sender = |_| {
            let (address, frames, stream) = (self.address, Arc::clone(frames), stream.clone());
            std::thread::spawn(move || publish(address, &stream, &frames, start + time))
        };
        let senders: Vec<_> = (0..SENDERS).map(sender).collect();
        let mut batches = 0;
        for sender in senders {
            batches += sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))??;
        }
        let seconds = start.elapsed().as_secs_f64();
        control.ask(&format!("$JS.API.STREAM.DELETE.{stream}"), b"")?;
        Ok(Turn { batches, seconds })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(address: SocketAddr, stream: &str, frames: &Frames, until: Instant) -> Result<u64> {
    let mut client = Client::connect(address)?;
    let (mut acknowledged, mut waiting) = (0, 0);
    for frame in frames.frames.iter().cycle() {
        if waiting == WINDOW {
            client.flush()?;
            acknowledged += client.acknowledged()?;
            waiting -= 1;
        }
        if Instant::now() > until {
            break;
        }
        client.publish(stream, frame)?;
        waiting += 1;
    }
    client.flush()?;
    for _ in 0..waiting {
        acknowledged += client.acknowledged()?;
    }
    Ok(acknowledged)
}

/// One connection.
struct Client {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    out: Vec<u8>,
    inbox: String,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self> {
        let writer = TcpStream::connect(address).context("failed to connect to NATS")?;
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(ANSWER_LIMIT))?;
        let port = writer.local_addr()?.port();
        let reader = BufReader::new(writer.try_clone()?);
        let mut client = Self { reader, writer, out: Vec::new(), inbox: format!("_INBOX.{port}") };
        let options = "{\"verbose\":false,\"pedantic\":false}";
        write!(client.out, "CONNECT {options}\r\nSUB {} 1\r\n", client.inbox)?;
        Ok(client)
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<()> {
        write!(self.out, "PUB {subject} {} {}\r\n", self.inbox, payload.len())?;
        self.out.extend_from_slice(payload);
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.write_all(&self.out).context("NATS takes nothing any more")?;
        self.out.clear();
        Ok(())
    }

    fn ask(&mut self, subject: &str, payload: &[u8]) -> Result<String> {
        self.publish(subject, payload)?;
        self.flush()?;
        let answer = self.message()?;
        ensure!(!answer.contains("\"error\""), "NATS refuses {subject}: {answer}");
        Ok(answer)
    }

    /// Waits for one acknowledgement.
    fn acknowledged(&mut self) -> Result<u64> {
        let answer = self.message()?;
        ensure!(answer.contains("\"seq\""), "NATS did not store a batch: {answer}");
        Ok(1)
    }

    /// Waits for a message to our inbox.
    fn message(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "NATS has closed the connection");
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("MSG") => {
                    let bytes = words.next_back().and_then(|word| word.parse::<usize>().ok());
                    let mut payload = vec![0; bytes.context("NATS says no length")? + 2];
                    self.reader.read_exact(&mut payload)?;
                    return Ok(String::from_utf8_lossy(&payload).into_owned());
                }
                Some("PING") => self.writer.write_all(b"PONG\r\n")?,
                Some("-ERR") => bail!("NATS says {line}"),
                _ => {}
            }
        }
    }
}
