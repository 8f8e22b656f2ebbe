//! A record as one line for people. Every byte that an attacker may have chosen is escaped.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use wire::record::{
    Address, Connection, Exec, Flow, Syscalls, connection_event, direction, process_flag,
    stdio_kind,
};

use super::{time_of_day, told};
use crate::doctor::size;
use crate::escape::{CommandLine, Escaped};
use crate::observation::{Observation, Record};
use crate::process::Process;

/// Processes whose system calls are told; `--json` has all of them.
const CALLERS_SHOWN: usize = 5;

/// Appends the line.
pub fn write(text: &mut String, observation: &Observation) {
    let process = observation.lineage.first().map(|process| &**process);
    let (time_ns, kind, what) = match &observation.record {
        Record::Exec(record) => (record.time_ns, "exec", exec(record, observation)),
        Record::Exit(record) => (record.time_ns, "exit", format!("status {}", status(record.code))),
        Record::Flow(record) => (record.last_ns, "flow", flow(record)),
        Record::Connection(record) => (record.time_ns, "socket", connection(record)),
        Record::Syscalls(record) => {
            let window_s = record.window_ns as f64 / 1e9;
            let what =
                format!("{} calls of number {} in {window_s:.1} s", record.count, record.number);
            (record.time_ns, "syscalls", what)
        }
        other => told::of(other),
    };
    let time = time_of_day(time_ns);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{time} {kind:<8} {:<22} {what}", name(process));
}

/// Appends a line for each of the processes that made most system calls, and one for the others.
pub fn write_calls(text: &mut String, calls: &[Observation]) {
    let mut by_process: HashMap<String, Vec<&Syscalls>> = HashMap::new();
    for observation in calls {
        let Record::Syscalls(record) = &observation.record else { continue };
        let process = observation.lineage.first().map(|process| &**process);
        by_process.entry(name(process)).or_default().push(record);
    }
    let total = |records: &[&Syscalls]| records.iter().map(|record| record.count).sum::<u64>();
    let mut busiest: Vec<_> = by_process.iter().map(|(n, r)| (total(r), n, r)).collect();
    busiest.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    for (count, name, records) in busiest.iter().take(CALLERS_SHOWN) {
        let Some(most) = records.iter().max_by_key(|record| record.count) else { continue };
        let (time, window_s) = (time_of_day(most.time_ns), most.window_ns as f64 / 1e9);
        let _ = writeln!(
            text,
            "{time} {:<8} {name:<22} {count} calls in {window_s:.1} s, {} of them number {}",
            "syscalls", most.count, most.number
        );
    }
    let others = busiest.get(CALLERS_SHOWN..).unwrap_or_default();
    if let (Some((_, _, records)), count) = (others.first(), others.len()) {
        let time = time_of_day(records[0].time_ns);
        let calls: u64 = others.iter().map(|(calls, _, _)| calls).sum();
        let _ = writeln!(
            text,
            "{time} {:<8} {:<22} {calls} calls by {count} other processes",
            "syscalls", "-"
        );
    }
}

/// A process by name and pid, `-` when not known.
fn name(process: Option<&Process>) -> String {
    let Some(process) = process else { return "-".to_owned() };
    let file = process.exe.rsplit(|&b| b == b'/').next().unwrap_or_default();
    let name = if file.is_empty() { &process.comm[..] } else { file };
    format!("{}[{}]", Escaped(name), process.key.pid)
}

fn exec(exec: &Exec, observation: &Observation) -> String {
    let Some((process, ancestors)) = observation.lineage.split_first() else {
        return String::new();
    };
    let mut what = match process.args.is_empty() {
        true => Escaped(&process.exe).to_string(),
        false => CommandLine(&process.args).to_string(),
    };
    let user = if process.user.is_empty() {
        process.uid.to_string()
    } else {
        Escaped(&process.user).to_string()
    };
    let _ = write!(what, "  user={user}");
    if let Some(parent) = ancestors.first() {
        let _ = write!(what, " parent={}", name(Some(parent)));
    }
    if !process.container.is_empty() {
        let _ = write!(what, " container={}", Escaped(&process.container[..12]));
    }
    for (bit, word) in [
        (process_flag::MEMFD, "memfd"),
        (process_flag::UNLINKED, "unlinked"),
        (process_flag::ARGS_TRUNCATED, "arguments-cut"),
        (process_flag::ARGS_UNKNOWN, "arguments-unknown"),
        (process_flag::EXE_UNKNOWN, "path-unknown"),
    ] {
        if process.flags & bit != 0 {
            let _ = write!(what, " {word}");
        }
    }
    for (descriptor, stdio) in exec.stdio.iter().enumerate() {
        if stdio.kind == stdio_kind::INET_SOCKET {
            let _ = write!(what, " fd{descriptor}={}", end(stdio.remote, stdio.remote_port));
        }
    }
    what
}

/// Exit status as `wait` reports it: a signal in the low bits, else a code above them.
fn status(code: u32) -> String {
    match code & 0x7f {
        0 => format!("{}", code >> 8 & 0xff),
        signal => format!("signal {signal}"),
    }
}

fn connection(connection: &Connection) -> String {
    let local = end(connection.local, connection.local_port);
    let remote = end(connection.remote, connection.remote_port);
    match connection.event {
        connection_event::CONNECTED => format!("connected {local} -> {remote}"),
        connection_event::CONNECT_FAILED => format!("failed to connect {local} -> {remote}"),
        connection_event::ACCEPTED => format!("accepted {local} <- {remote}"),
        connection_event::LISTEN => format!("listens on {local}"),
        connection_event::LISTEN_CLOSED => format!("no longer listens on {local}"),
        connection_event::CLOSED => format!("closed {local} -- {remote}"),
        other => format!("event {other} {local} -- {remote}"),
    }
}

fn flow(flow: &Flow) -> String {
    let arrow = match flow.direction {
        direction::OUTGOING => "->",
        direction::INCOMING => "<-",
        _ => "--",
    };
    let protocol = match (flow.family, flow.protocol) {
        (0, _) => format!("ethertype {:#06x}", flow.remote_port),
        (_, 1) => format!("icmp type {}", flow.local_port),
        (_, 6) => "tcp".to_owned(),
        (_, 17) => "udp".to_owned(),
        (_, 58) => format!("icmp6 type {}", flow.local_port),
        (_, other) => format!("protocol {other}"),
    };
    let (ingress, egress) = (&flow.ingress, &flow.egress);
    let ends = match (flow.family, flow.protocol) {
        (0, _) => String::new(),
        // ICMP has no ports; its type and code travel in their place.
        (_, 1 | 58) => format!("{} {arrow} {} ", flow.local.to_ip(), flow.remote.to_ip()),
        _ => format!(
            "{} {arrow} {} ",
            end(flow.local, flow.local_port),
            end(flow.remote, flow.remote_port)
        ),
    };
    format!(
        "{ends}{protocol} out {} pkt {}, in {} pkt {}",
        egress.packets,
        size(egress.bytes),
        ingress.packets,
        size(ingress.bytes)
    )
}

fn end(address: Address, port: u16) -> String {
    SocketAddr::new(address.to_ip(), port).to_string()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::rc::Rc;

    use super::*;
    use crate::ledger::Signal;
    use crate::process::Key;

    fn observation(record: Record) -> Observation {
        let process = Process {
            key: Key::new(42, 0),
            exe: b"/tmp/\x1b[2Jx"[..].into(),
            args: b"x\0\xe2\x80\xae\0"[..].into(),
            user: b"web"[..].into(),
            flags: process_flag::MEMFD,
            ..Process::default()
        };
        let lineage = vec![Rc::new(process)];
        Observation { lineage, target: Vec::new(), signal: Signal::Exec, events: 1, record }
    }

    fn line(record: Record) -> String {
        let mut text = String::new();
        write(&mut text, &observation(record));
        text
    }

    #[test]
    fn a_hostile_name_cannot_move_the_cursor() {
        let mut exec = Exec { time_ns: 1_000_000_000, ..Exec::default() };
        let remote: IpAddr = "10.0.0.9".parse().unwrap();
        exec.stdio[0] = wire::record::Stdio {
            kind: stdio_kind::INET_SOCKET,
            remote: remote.into(),
            remote_port: 4444,
            local_port: 1,
        };
        assert_eq!(
            line(Record::Exec(exec)),
            "00:00:01.000 exec     \\x1b[2Jx[42]           x \\u{202e}  user=web memfd \
             fd0=10.0.0.9:4444\n"
        );
    }

    #[test]
    fn a_flow_shows_both_directions() {
        let local: IpAddr = "fd00::1".parse().unwrap();
        let mut flow = Flow {
            local: local.into(),
            remote: local.into(),
            local_port: 80,
            remote_port: 9,
            protocol: 6,
            family: 6,
            direction: direction::INCOMING,
            ..Flow::default()
        };
        (flow.ingress.packets, flow.ingress.bytes) = (3, 2048);
        let text = line(Record::Flow(flow));
        assert!(text.contains("[fd00::1]:80 <- [fd00::1]:9 tcp out 0 pkt 0 B, in 3 pkt 2.0 KiB"));
    }

    #[test]
    fn an_exit_tells_code_or_signal() {
        assert_eq!(
            (status(0), status(256), status(9)),
            ("0".into(), "1".into(), "signal 9".into())
        );
    }
}
