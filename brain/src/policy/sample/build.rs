//! Turns a scenario into the batches that a sensor would send.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::limits::RECORDS_MAX;
use wire::record::{
    Address, Coverage, Exec, Exit, Process, ProcessRef, Stdio, connection_event, process_flag,
    stdio_kind,
};
use wire::text::{StrId, StringTableBuilder};

use super::scenario::{Args, ProcessText, Sample, Step};

mod act;
mod login;
mod network;

/// When every scenario begins.
const START_NS: u64 = 1_700_000_000_000_000_000;

const MS: u64 = 1_000_000;

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

/// How long a scenario goes on after its last event, so that what waits for time to pass is seen.
const AFTERMATH_S: u64 = 30;

/// Returns the scenario's events as one batch, and what sensors said of themselves as others; each
/// [`Batch`] is complete in itself.
pub(crate) fn batches(sample: &Sample) -> Result<Vec<Batch>, String> {
    let mut builder = Builder::new(sample)?;
    for step in &sample.events {
        builder.step(step)?;
    }
    builder.batch.strings = builder.strings.finish();
    let mut batches = vec![builder.batch];
    batches.append(&mut builder.heartbeats);
    Ok(batches)
}

/// Returns batches that hold nothing but the passing of time after the scenario.
pub(crate) fn heartbeats(sample: &Sample) -> Result<Vec<Batch>, String> {
    let mut end = START_NS;
    for step in &sample.events {
        let (first, last) = range(step.n.as_deref())?;
        let times = (last - first).saturating_add(1);
        end = end.saturating_add(step.after_ms.saturating_mul(MS).saturating_mul(times));
    }
    let beat = |second| heartbeat(position(second + 1), end.saturating_add(second * 1_000 * MS));
    Ok((1..=AFTERMATH_S).map(beat).collect())
}

fn heartbeat(position: Position, end_ns: u64) -> Batch {
    let mut batch = Batch::empty(position, Clock { boot_ns: 0, unix_ns: end_ns });
    batch.coverage = Some(Coverage { end_ns, ..Coverage::default() });
    batch
}

fn position(seq: u64) -> Position {
    Position { epoch: 1, lane: Lane::Bulk, seq }
}

struct Builder {
    batch: Batch,
    heartbeats: Vec<Batch>,
    strings: StringTableBuilder,
    processes: BTreeMap<String, ProcessRef>,
    now_ns: u64,
}

impl Builder {
    fn new(sample: &Sample) -> Result<Self, String> {
        let mut builder = Self {
            batch: Batch::empty(position(1), Clock { boot_ns: 0, unix_ns: START_NS }),
            heartbeats: Vec::new(),
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
            pid: text.pid.unwrap_or(1_000 + index),
            start_ns: START_NS - 1_000 * MS + u64::from(index),
            parent,
            exe: self.string(&text.exe)?,
            comm: self.string(text.comm.as_deref().unwrap_or_else(|| leaf(&text.exe)))?,
            args: self.args(&text.args)?,
            uid: text.uid,
            euid: text.euid.unwrap_or(text.uid),
            user: self.string(&text.user)?,
            flags: flags(&text.flags)?,
            container: self.string(&text.container)?,
            cgroup: self.string(&text.cgroup)?,
            cwd: self.string(&text.cwd)?,
            script: self.string(&text.script)?,
            tty: self.string(&text.tty)?,
            env: self.ended(text.env.iter().map(String::as_str))?,
            login_uid: text.login_uid.map_or(0, |uid| uid.saturating_add(1)),
            session: text.session.map_or(0, |session| session.saturating_add(1)),
            sha256: self.hash(&text.sha256)?,
            ..Process::default()
        };
        self.batch.processes.push(process);
        let named = ProcessRef(index + 1);
        self.processes.insert(name.to_owned(), named);
        Ok(named)
    }

    fn args(&mut self, args: &Args) -> Result<StrId, String> {
        match args {
            Args::Text(text) => self.ended(text.split_whitespace()),
            Args::List(list) => self.ended(list.iter().map(String::as_str)),
        }
    }

    /// Adds words, each ended by NUL.
    fn ended<'a>(&mut self, words: impl Iterator<Item = &'a str>) -> Result<StrId, String> {
        let ended: String = words.flat_map(|word| [word, "\0"]).collect();
        self.string(&ended)
    }

    fn hash(&mut self, digits: &str) -> Result<StrId, String> {
        if digits.is_empty() {
            return self.string("");
        }
        let byte = |at: usize| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..HASH_BYTES).map(byte).collect();
        let bytes = bytes
            .filter(|_| digits.len() == 2 * HASH_BYTES)
            .ok_or_else(|| format!("`{digits}` is not a SHA-256 of 64 hexadecimal digits"))?;
        self.strings.add(&bytes).ok_or_else(|| "too much text".to_owned())
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
            self.event(&step.numbered(n))?;
        }
        Ok(())
    }

    /// Adds the record of what the step says; its texts have the repetition's number in them.
    fn event(&mut self, step: &Step) -> Result<(), String> {
        use connection_event as event;
        type Add = fn(&mut Builder, &Step, ProcessRef) -> Result<(), String>;
        let kinds: [(&Option<String>, Add); 19] = [
            (&step.exec, Self::exec),
            (&step.exit, Self::exit),
            (&step.connect, |b, s, p| b.connection(s, p, event::CONNECTED)),
            (&step.connect_failed, |b, s, p| b.connection(s, p, event::CONNECT_FAILED)),
            (&step.accept, |b, s, p| b.connection(s, p, event::ACCEPTED)),
            (&step.listen, |b, s, p| b.connection(s, p, event::LISTEN)),
            (&step.close, |b, s, p| b.connection(s, p, event::CLOSED)),
            (&step.flow, Self::flow),
            (&step.module, Self::module),
            (&step.file, Self::file),
            (&step.dns, Self::dns),
            (&step.tls, Self::tls),
            (&step.memory, Self::memory),
            (&step.privilege, Self::privilege),
            (&step.uring, Self::uring),
            (&step.activity, Self::activity),
            (&step.scan, Self::scan),
            (&step.login, Self::login),
            (&step.heartbeat, Self::heartbeat),
        ];
        let mut named = kinds.iter().filter_map(|(name, add)| Some((name.as_ref()?, add)));
        let Some((name, add)) = named.next() else {
            return Err("an event says nothing; give it exec, connect, file, …".to_owned());
        };
        if named.next().is_some() {
            return Err("an event says two things; make it two events".to_owned());
        }
        add(self, step, self.process(name)?)
    }

    fn heartbeat(&mut self, step: &Step, _process: ProcessRef) -> Result<(), String> {
        let position = Position { epoch: step.start, lane: Lane::Bulk, seq: 1 };
        self.heartbeats.push(heartbeat(position, self.now_ns));
        Ok(())
    }

    fn exec(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let stdio = stdio(&step.stdio)?;
        self.batch.execs.push(Exec { time_ns: self.now_ns, process, stdio });
        Ok(())
    }

    fn exit(&mut self, _step: &Step, process: ProcessRef) -> Result<(), String> {
        self.batch.exits.push(Exit { time_ns: self.now_ns, process, ..Exit::default() });
        Ok(())
    }
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

fn leaf(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or("")
}

fn flags(names: &[String]) -> Result<u32, String> {
    names.iter().try_fold(0, |flags, name| {
        let flag = match name.as_str() {
            "memfd" => process_flag::MEMFD,
            "unlinked" => process_flag::UNLINKED,
            "args_truncated" => process_flag::ARGS_TRUNCATED,
            "args_unknown" => process_flag::ARGS_UNKNOWN,
            "exe_unknown" => process_flag::EXE_UNKNOWN,
            "seeded" => process_flag::SEEDED,
            "upper_layer" => process_flag::UPPER_LAYER,
            other => return Err(format!("flag `{other}` is not known")),
        };
        Ok(flags | flag)
    })
}
