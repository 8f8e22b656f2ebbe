//! The records of a batch as others would send them: each with its process and with its strings,
//! without anything that is empty.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use wire::batch::Batch;
use wire::record::{Address, ProcessRef};
use wire::text::StrId;

/// Key of bytes that are not text, as hexadecimal digits.
pub(crate) const BYTES: &str = "bytes";

/// A record as a tree with all its fields, the empty ones too.
#[derive(Debug)]
pub struct Event {
    /// Number of its signal, counted from 1.
    pub signal: u32,
    /// Name of its signal.
    pub name: &'static str,
    /// Its fields, in order.
    pub fields: Value,
}

/// Returns the batch's records.
pub fn events(batch: &Batch) -> Vec<Event> {
    let mut events = Vec::new();
    let mut number = 0;
    let mut signal = |name: &'static str, records: Vec<Value>| {
        number += 1;
        events.extend(records.into_iter().map(|mut fields| {
            resolve(batch, &mut fields);
            Event { signal: number, name, fields }
        }));
    };
    let said = |id: &StrId| Said(batch.strings.bytes(*id));
    macro_rules! plain {
        ($($name:literal $column:ident),*) => {
            $(signal($name, batch.$column.iter().map(tree).collect());)*
        };
    }
    macro_rules! with_texts {
        ($($name:literal $column:ident),*) => {
            $(signal($name, batch.$column.iter().map(|r| tree(r.map_texts(said))).collect());)*
        };
    }
    plain!("exec" execs, "exit" exits, "flow" flows, "connection" connections);
    plain!("syscall" syscalls, "activity" activities, "use" uses, "uring" urings);
    with_texts!("sweep" sweeps, "dns" dns, "tls" tls, "file" files, "memory" memory);
    with_texts!("privilege" privileges, "login" logins, "inventory" inventory, "scan" scans);
    signal("coverage", batch.coverage.iter().map(|c| coverage(batch, c)).collect());
    events
}

/// Returns the events as JSON, one a line.
pub fn lines(events: &[Event]) -> String {
    let line = |event: &Event| {
        let mut fields = Map::new();
        fields.insert("signal".to_owned(), event.name.into());
        if let Some(Value::Object(full)) = without_empty(&event.fields) {
            fields.extend(full);
        }
        Value::Object(fields).to_string() + "\n"
    };
    events.iter().map(line).collect()
}

/// A string of a host.
struct Said<'a>(&'a [u8]);

impl Serialize for Said<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            // Lists travel as their parts, each ended by NUL.
            Ok(text) if text.ends_with('\0') => {
                serializer.collect_seq(text[..text.len() - 1].split('\0'))
            }
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(BYTES, &digits)?;
                map.end()
            }
        }
    }
}

fn tree(record: impl Serialize) -> Value {
    // Records are structs of numbers and strings, which JSON has.
    serde_json::to_value(record).unwrap_or(Value::Null)
}

fn coverage(batch: &Batch, coverage: &wire::record::Coverage) -> Value {
    let said = |value: &mut Value| {
        if let Some(id) = value.as_u64() {
            *value = tree(Said(batch.strings.bytes(StrId(id as u32))));
        }
    };
    let mut fields = tree(coverage);
    let lists = [
        ("hooks", ["name", "attached", "reason"].as_slice()),
        ("ledger", ["signal", "outcome"].as_slice()),
        ("maps", ["name"].as_slice()),
    ];
    for (list, keys) in lists {
        for entry in fields[list].as_array_mut().into_iter().flatten() {
            keys.iter().for_each(|key| said(&mut entry[*key]));
        }
    }
    fields
}

/// Puts processes where their numbers are, and addresses into the form that people know.
fn resolve(batch: &Batch, fields: &mut Value) {
    let Value::Object(fields) = fields else { return };
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), &*value) {
            ("process" | "target", Value::Number(number)) => {
                let reference = ProcessRef(number.as_u64().unwrap_or(0) as u32);
                *value = process(batch, reference);
            }
            ("local" | "remote" | "source", Value::Array(bytes)) => {
                let mut address = [0; 16];
                let bytes = bytes.iter().filter_map(Value::as_u64);
                address.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte as u8);
                *value = match address {
                    [0, ..] if address == [0; 16] => "".into(),
                    _ => Address(address).to_ip().to_string().into(),
                };
            }
            ("stdio", Value::Array(_)) => {
                let ends = value.as_array_mut();
                ends.into_iter().flatten().for_each(|end| resolve(batch, end));
            }
            _ => {}
        }
    }
}

/// The process alone, with its parent's number: ancestors are left to who keeps a table.
fn process(batch: &Batch, reference: ProcessRef) -> Value {
    let of = |reference: ProcessRef| batch.processes.get(reference.index()?);
    let Some(process) = of(reference) else { return Value::Null };
    let mut fields = tree(process.map_texts(|id| Said(batch.strings.bytes(*id))));
    fields["parent"] = of(process.parent).map_or(0, |parent| parent.pid).into();
    fields
}

fn without_empty(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Number(number) if number.as_u64() == Some(0) => None,
        Value::String(text) if text.is_empty() => None,
        Value::Array(items) if items.is_empty() => None,
        // Places in a list tell something, so nothing in it is left out.
        Value::Array(items) => {
            let full = |item| without_empty(item).unwrap_or_else(|| Value::clone(item));
            let items: Vec<Value> = items
                .iter()
                .map(|item| match item {
                    Value::Object(_) => without_empty(item).unwrap_or_else(|| Map::new().into()),
                    _ => full(item),
                })
                .collect();
            Some(items.into())
        }
        Value::Object(fields) if fields.len() == 1 && fields.contains_key(BYTES) => {
            Some(fields[BYTES].clone())
        }
        Value::Object(fields) => {
            let full = |(key, value): (&String, &Value)| Some((key.clone(), without_empty(value)?));
            let fields: Map<String, Value> = fields.iter().filter_map(full).collect();
            (!fields.is_empty()).then(|| fields.into())
        }
        _ => Some(value.clone()),
    }
}
