//! A record as one JSON object per line, for programs.

use serde::Serialize;
use serde_json::{Value, json};
use wire::record::{Address, Connection, Counters, Exec, Exit, Flow, Syscalls};

use super::{rfc3339, started};
use crate::clock::ClockPair;
use crate::escape::visible;
use crate::observation::{Observation, Record};
use crate::process::Process;

/// Appends the object and ends the line.
pub fn write(text: &mut String, observation: &Observation, start: ClockPair) {
    let mut object = record(&observation.record);
    if let Some((process, ancestors)) = observation.lineage.split_first() {
        object["process"] = self::process(process, start);
        object["lineage"] = ancestors.iter().map(|p| self::process(p, start)).collect();
    }
    if let Some(target) = observation.target.first() {
        object["target_process"] = self::process(target, start);
    }
    text.push_str(&object.to_string());
    text.push('\n');
}

fn record(record: &Record) -> Value {
    match record {
        Record::Exec(exec) => self::exec(exec),
        Record::Exit(Exit { time_ns, code, duration_ns, .. }) => {
            json!({
                "time": rfc3339(*time_ns), "kind": "exit", "status": code,
                "duration_ms": duration_ns / 1_000_000,
            })
        }
        Record::Flow(flow) => self::flow(flow),
        Record::Connection(connection) => self::connection(connection),
        Record::Syscalls(Syscalls { time_ns, number, count, window_ns, .. }) => json!({
            "time": rfc3339(*time_ns), "kind": "syscalls", "number": number, "count": count,
            "window_ms": window_ns / 1_000_000,
        }),
        Record::Activity(record) => plain("activity", record),
        Record::Use(record) => plain("use", record),
        Record::Uring(record) => plain("io_uring", record),
        Record::Sweep(record) => plain("sweep", &record.map_texts(|text| hex(text))),
        Record::Dns(record) => plain("dns", &record.map_texts(|text| visible(text))),
        Record::Tls(record) => plain("tls", &record.map_texts(|text| visible(text))),
        Record::File(record) => plain("file", &record.map_texts(|text| visible(text))),
        Record::Memory(record) => plain("memory", &record.map_texts(|text| visible(text))),
        Record::Privilege(record) => plain("privilege", &record.map_texts(|text| visible(text))),
        Record::Login(record) => plain("login", &record.map_texts(|text| visible(text))),
        Record::Inventory(record) => plain("inventory", &record.map_texts(|text| visible(text))),
        Record::Scan(record) => plain("scan", &record.map_texts(|text| visible(text))),
    }
}

/// A record under the names that it has on the wire, with times and addresses as text.
fn plain(kind: &str, record: &impl Serialize) -> Value {
    let Ok(Value::Object(fields)) = serde_json::to_value(record) else { return Value::Null };
    let mut object = json!({"kind": kind});
    for (name, value) in fields {
        let time = ["time", "first", "last"].into_iter().find(|t| name == format!("{t}_ns"));
        match (time, value.as_u64(), name.as_str()) {
            (Some(time), Some(ns), _) => object[time] = rfc3339(ns).into(),
            (_, _, "process" | "target") if value.is_number() => {}
            (_, _, "local" | "remote" | "source") if value.is_array() => {
                let address: Option<Address> = serde_json::from_value(value).ok();
                object[format!("{name}_address")] = address.map(self::address).into();
            }
            // What kind of thing a record is about gives way to what kind of record it is.
            (_, _, "kind") => object["type"] = value,
            _ => object[name] = value,
        }
    }
    object
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn exec(exec: &Exec) -> Value {
    let stdio = exec.stdio.map(|end| {
        json!({
            "kind": stdio_name(end.kind), "remote_address": address(end.remote),
            "remote_port": end.remote_port, "local_port": end.local_port,
        })
    });
    json!({
        "time": rfc3339(exec.time_ns), "kind": "exec", "stdio": stdio,
    })
}

fn flow(flow: &Flow) -> Value {
    json!({
        "time": rfc3339(flow.last_ns), "kind": "flow", "first": rfc3339(flow.first_ns),
        "protocol": flow.protocol, "family": flow.family, "vlan": flow.vlan,
        "interface": flow.ifindex, "detail": flow.detail, "direction": flow.direction,
        "local_address": address(flow.local), "local_port": flow.local_port,
        "remote_address": address(flow.remote), "remote_port": flow.remote_port,
        "ingress": counters(&flow.ingress), "egress": counters(&flow.egress),
    })
}

fn counters(counters: &Counters) -> Value {
    json!({
        "packets": counters.packets, "bytes": counters.bytes, "syns": counters.syns,
        "tcp_flags": counters.tcp_flags, "isn": counters.isn,
    })
}

fn connection(connection: &Connection) -> Value {
    json!({
        "time": rfc3339(connection.time_ns), "kind": "connection",
        "event": event_name(connection.event), "protocol": connection.protocol,
        "local_address": address(connection.local), "local_port": connection.local_port,
        "remote_address": address(connection.remote), "remote_port": connection.remote_port,
    })
}

fn process(process: &Process, start: ClockPair) -> Value {
    let args = process.args.strip_suffix(b"\0").unwrap_or(&process.args);
    let args: Vec<String> = match args.is_empty() {
        true => Vec::new(),
        false => args.split(|&b| b == 0).map(visible).collect(),
    };
    json!({
        "pid": process.key.pid, "start_time": started(process, start),
        "executable": visible(&process.exe), "name": visible(&process.comm), "args": args,
        "user": visible(&process.user), "uid": process.uid, "euid": process.euid,
        "gid": process.gid, "cgroup": visible(&process.cgroup),
        "container": visible(&process.container), "pod": visible(&process.pod),
        "sha256": hex(&process.sha256), "cwd": visible(&process.cwd),
        "script": visible(&process.script), "environment": visible(&process.env),
        "tty": visible(&process.tty), "login_uid": process.login_uid.checked_sub(1),
        "session": process.session.checked_sub(1), "capabilities": process.capabilities,
        "inode": process.exe_inode, "device": process.exe_dev,
        "namespace_pid": process.namespace_pid, "namespaces": process.namespaces,
        "flags": process.flags,
    })
}

fn address(address: Address) -> String {
    address.to_ip().to_string()
}

fn stdio_name(kind: u8) -> &'static str {
    const NAMES: [&str; 7] =
        ["none", "file", "pipe", "device", "unix_socket", "inet_socket", "other"];
    NAMES.get(usize::from(kind)).copied().unwrap_or("unknown")
}

fn event_name(event: u8) -> &'static str {
    const NAMES: [&str; 6] =
        ["connected", "connect_failed", "accepted", "listen", "listen_closed", "closed"];
    usize::from(event).checked_sub(1).and_then(|at| NAMES.get(at)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::ledger::Signal;

    #[test]
    fn a_record_keeps_its_kind_beside_a_field_of_that_name() {
        let name = b"bash"[..].into();
        let inventory = wire::record::Inventory { kind: 1, name, ..Default::default() };
        let object = super::record(&Record::Inventory(inventory));
        assert_eq!((&object["kind"], &object["type"]), (&json!("inventory"), &json!(1)));
    }

    #[test]
    fn an_object_per_line_whatever_the_bytes() {
        let process = Process {
            exe: b"/tmp/a\n\xff"[..].into(),
            args: b"a\0b c\0"[..].into(),
            ..Process::default()
        };
        let record = Record::Exit(Exit { time_ns: 1_500_000_000, code: 256, ..Exit::default() });
        let lineage = vec![Rc::new(process)];
        let observation =
            Observation { lineage, target: Vec::new(), signal: Signal::Exit, events: 1, record };
        let mut text = String::new();
        write(&mut text, &observation, ClockPair::default());
        assert_eq!(text.matches('\n').count(), 1);
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!(object["process"]["executable"], "/tmp/a\\n\\xff");
        assert_eq!(object["process"]["args"], json!(["a", "b c"]));
    }
}
