//! Turns a scenario into the batches that a sensor would send.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::limits::RECORDS_MAX;
use wire::record::{
    Address, Connection, Counters, Coverage, Exec, Exit, Flow, Privilege, Process, ProcessRef,
    Stdio, connection_event, direction, privilege_action, process_flag, stdio_kind,
};
use wire::text::{StrId, StringTableBuilder};

use super::{Args, ProcessText, Sample, Step};
use crate::record::{protocol, tcp_flag};

/// When every scenario begins.
const START_NS: u64 = 1_700_000_000_000_000_000;

const MS: u64 = 1_000_000;

/// How long a scenario goes on after its last event, so that what waits for time to pass is seen.
const AFTERMATH_S: u64 = 30;

/// Returns the scenario's events as one batch; each [`Batch`] is complete in itself.
pub(crate) fn batches(sample: &Sample) -> Result<Vec<Batch>, String> {
    let mut builder = Builder::new(sample)?;
    for step in &sample.events {
        builder.step(step)?;
    }
    builder.batch.strings = builder.strings.finish();
    Ok(vec![builder.batch])
}

/// Returns batches that hold nothing but the passing of time after the scenario.
pub(crate) fn heartbeats(sample: &Sample) -> Result<Vec<Batch>, String> {
    let length: u64 = sample.events.iter().map(|step| step.after_ms * MS).sum();
    let end = START_NS.saturating_add(length);
    let beat = |second: u64| {
        let end_ns = end.saturating_add(second * 1_000 * MS);
        let mut batch = Batch::empty(position(second + 1), Clock { boot_ns: 0, unix_ns: end_ns });
        batch.coverage = Some(Coverage { end_ns, ..Coverage::default() });
        batch
    };
    Ok((1..=AFTERMATH_S).map(beat).collect())
}

fn position(seq: u64) -> Position {
    Position { epoch: 1, lane: Lane::Bulk, seq }
}

struct Builder {
    batch: Batch,
    strings: StringTableBuilder,
    processes: BTreeMap<String, ProcessRef>,
    now_ns: u64,
}

impl Builder {
    fn new(sample: &Sample) -> Result<Self, String> {
        let mut builder = Self {
            batch: Batch::empty(position(1), Clock { boot_ns: 0, unix_ns: START_NS }),
            strings: StringTableBuilder::default(),
            processes: BTreeMap::new(),
            now_ns: START_NS,
        };
        for name in sample.processes.keys() {
            builder.add_process(name, &sample.processes, sample.processes.len())?;
        }
        Ok(builder)
    }

    /// Adds a process after its parent; `left` bounds the walk, for parents may form a ring.
    fn add_process(
        &mut self,
        name: &str,
        all: &BTreeMap<String, ProcessText>,
        left: usize,
    ) -> Result<ProcessRef, String> {
        if let Some(known) = self.processes.get(name) {
            return Ok(*known);
        }
        let text = all.get(name).ok_or_else(|| format!("no process is called `{name}`"))?;
        let left = left.checked_sub(1).ok_or("a process is its own ancestor")?;
        let parent = match &text.parent {
            Some(parent) => self.add_process(parent, all, left)?,
            None => ProcessRef(0),
        };
        let index = self.batch.processes.len() as u32;
        let process = Process {
            pid: 1_000 + index,
            start_ns: START_NS - 1_000 * MS + u64::from(index),
            parent,
            exe: self.string(&text.exe)?,
            comm: self.string(text.exe.rsplit('/').next().unwrap_or(""))?,
            args: self.args(&text.args)?,
            uid: text.uid,
            euid: text.uid,
            user: self.string(&text.user)?,
            flags: flags(&text.flags)?,
            ..Process::default()
        };
        self.batch.processes.push(process);
        let named = ProcessRef(index + 1);
        self.processes.insert(name.to_owned(), named);
        Ok(named)
    }

    fn args(&mut self, args: &Args) -> Result<StrId, String> {
        let words: Vec<&str> = match args {
            Args::Text(text) => text.split_whitespace().collect(),
            Args::List(list) => list.iter().map(String::as_str).collect(),
        };
        let ended: String = words.iter().flat_map(|word| [word, "\0"]).collect();
        self.string(&ended)
    }

    fn string(&mut self, text: &str) -> Result<StrId, String> {
        self.strings.add(text.as_bytes()).ok_or_else(|| "too much text".to_owned())
    }

    fn process(&self, name: &str) -> Result<ProcessRef, String> {
        if name == "-" {
            return Ok(ProcessRef(0));
        }
        self.processes.get(name).copied().ok_or_else(|| format!("no process is called `{name}`"))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let (first, last) = range(step.n.as_deref())?;
        if last - first >= RECORDS_MAX as u64 {
            return Err("too many repetitions".to_owned());
        }
        for n in first..=last {
            self.now_ns = self.now_ns.saturating_add(step.after_ms.saturating_mul(MS));
            let number = n.to_string();
            let local = step.local.replace("{n}", &number);
            let remote = step.remote.replace("{n}", &number);
            self.event(step, &local, &remote)?;
        }
        Ok(())
    }

    fn event(&mut self, step: &Step, local: &str, remote: &str) -> Result<(), String> {
        use connection_event as event;
        let time_ns = self.now_ns;
        let connections = [
            (&step.connect, event::CONNECTED),
            (&step.connect_failed, event::CONNECT_FAILED),
            (&step.accept, event::ACCEPTED),
            (&step.close, event::CLOSED),
        ];
        if let Some(name) = &step.exec {
            let stdio = stdio(&step.stdio)?;
            let process = self.process(name)?;
            self.batch.execs.push(Exec { time_ns, process, stdio });
        } else if let Some(name) = &step.exit {
            let process = self.process(name)?;
            self.batch.exits.push(Exit { time_ns, process, ..Exit::default() });
        } else if let Some(name) = &step.module {
            let (process, target) = (self.process(name)?, self.string(&step.target)?);
            let action = privilege_action::MODULE_LOADED;
            self.batch.privileges.push(Privilege {
                time_ns,
                process,
                action,
                name: target,
                ..Privilege::default()
            });
        } else if let Some(name) = &step.flow {
            let process = self.process(name)?;
            self.batch.flows.push(flow(step, time_ns, process, local, remote)?);
        } else if let Some((Some(name), event)) =
            connections.iter().find(|(name, _)| name.is_some())
        {
            let ((local, local_port), (remote, remote_port)) = (end(local)?, end(remote)?);
            self.batch.connections.push(Connection {
                time_ns,
                process: self.process(name)?,
                event: *event,
                protocol: protocol::TCP,
                local,
                remote,
                local_port,
                remote_port,
            });
        } else {
            return Err("an event says nothing; give it exec, connect, flow, …".to_owned());
        }
        Ok(())
    }
}

fn flow(
    step: &Step,
    time_ns: u64,
    process: ProcessRef,
    local: &str,
    remote: &str,
) -> Result<Flow, String> {
    let ((local, local_port), (remote, remote_port)) = (end(local)?, end(remote)?);
    let protocol = match (step.protocol.as_deref().unwrap_or("tcp"), remote.to_ip()) {
        ("tcp", _) => protocol::TCP,
        ("udp", _) => protocol::UDP,
        ("icmp", ip) if ip.is_ipv4() => protocol::ICMP,
        ("icmp", _) => protocol::ICMPV6,
        (other, _) => return Err(format!("protocol `{other}` is not tcp, udp or icmp")),
    };
    Ok(Flow {
        first_ns: time_ns,
        last_ns: time_ns,
        process,
        local,
        remote,
        local_port,
        remote_port,
        protocol,
        family: if remote.to_ip().is_ipv4() { 4 } else { 6 },
        direction: match step.direction.as_deref() {
            Some("outgoing") => direction::OUTGOING,
            Some("incoming") => direction::INCOMING,
            None | Some("unknown") => direction::UNKNOWN,
            Some(other) => return Err(format!("direction `{other}` is not known")),
        },
        ingress: counters(step.received.as_deref(), step.packets)?,
        egress: counters(step.sent.as_deref(), step.packets)?,
        ..Flow::default()
    })
}

fn counters(flags: Option<&str>, packets: Option<u64>) -> Result<Counters, String> {
    let flags = flags.unwrap_or("-");
    if flags == "-" {
        return Ok(Counters::default());
    }
    let mut tcp_flags = 0;
    for flag in flags.split_whitespace() {
        tcp_flags |= match flag {
            "FIN" => tcp_flag::FIN,
            "SYN" => tcp_flag::SYN,
            "RST" => tcp_flag::RST,
            "ACK" => tcp_flag::ACK,
            "any" => 0,
            other => return Err(format!("`{other}` is not FIN, SYN, RST, ACK, any or -")),
        };
    }
    let packets = packets.unwrap_or(1);
    let syns = u32::from(tcp_flags & tcp_flag::SYN != 0);
    Ok(Counters { packets, bytes: packets * 60, syns, tcp_flags, isn: None })
}

fn stdio(words: &[String]) -> Result<[Stdio; 3], String> {
    let parsed = words.iter().map(|word| descriptor(word)).collect::<Result<Vec<_>, _>>()?;
    match parsed[..] {
        [] => Ok([Stdio { kind: stdio_kind::DEVICE, ..Stdio::default() }; 3]),
        [all] => Ok([all; 3]),
        [stdin, stdout, stderr] => Ok([stdin, stdout, stderr]),
        _ => Err("`stdio` takes one word or three".to_owned()),
    }
}

/// Reads a word such as `pipe` or `socket:40000>10.0.0.1:4444`.
fn descriptor(word: &str) -> Result<Stdio, String> {
    let kind = match word {
        "none" => stdio_kind::NONE,
        "file" => stdio_kind::FILE,
        "pipe" => stdio_kind::PIPE,
        "tty" | "null" => stdio_kind::DEVICE,
        "unix" => stdio_kind::UNIX_SOCKET,
        _ => {
            let (local, remote) = (word.strip_prefix("socket:").and_then(|w| w.split_once('>')))
                .ok_or_else(|| format!("descriptor `{word}` is not known"))?;
            let local_port = local.parse().map_err(|_| format!("`{local}` is not a port"))?;
            let (remote, remote_port) = end(remote)?;
            return Ok(Stdio { kind: stdio_kind::INET_SOCKET, remote, remote_port, local_port });
        }
    };
    Ok(Stdio { kind, ..Stdio::default() })
}

fn end(text: &str) -> Result<(Address, u16), String> {
    let end: SocketAddr =
        text.parse().map_err(|_| format!("`{text}` is not an address with a port"))?;
    Ok((Address::from(end.ip()), end.port()))
}

fn range(text: Option<&str>) -> Result<(u64, u64), String> {
    let Some(text) = text else { return Ok((0, 0)) };
    let parsed = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed.filter(|(a, b)| a <= b).ok_or_else(|| format!("`{text}` is not a range such as 1-100"))
}

fn flags(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(0, |flags, name| {
        let flag = match name.as_str() {
            "memfd" => process_flag::MEMFD,
            "unlinked" => process_flag::UNLINKED,
            "args_truncated" => process_flag::ARGS_TRUNCATED,
            "args_unknown" => process_flag::ARGS_UNKNOWN,
            other => return Err(format!("flag `{other}` is not known")),
        };
        Ok(flags | flag)
    })
}
