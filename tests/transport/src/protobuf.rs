//! The records of a batch as Protobuf: a message per signal and for the process, fields numbered in
//! their order, nothing that is empty. A batch is a message of repeated events.

use std::net::IpAddr;

use prost::encoding::{self, WireType};
use serde_json::Value;

use crate::json::{BYTES, Event};

/// Number of the one field of a batch.
const EVENT: u32 = 1;

/// Returns the message of these events.
pub fn message(events: &[Event]) -> Vec<u8> {
    let mut batch = Vec::new();
    for event in events {
        let mut record = Vec::new();
        put_fields(&mut record, &event.fields);
        let mut one = Vec::new();
        put_message(&mut one, event.signal, &record);
        put_message(&mut batch, EVENT, &one);
    }
    batch
}

fn put_fields(to: &mut Vec<u8>, fields: &Value) {
    let Value::Object(fields) = fields else { return };
    for (number, (_, value)) in (1..).zip(fields) {
        put(to, number, value);
    }
}

fn put(to: &mut Vec<u8>, number: u32, value: &Value) {
    match value {
        Value::Number(value) => match value.as_u64() {
            Some(0) | None => {}
            Some(value) => encoding::uint64::encode(number, &value, to),
        },
        Value::String(text) => put_text(to, number, text),
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            let items: Vec<u64> = items.iter().filter_map(Value::as_u64).collect();
            encoding::uint64::encode_packed(number, &items, to);
        }
        Value::Array(items) => items.iter().for_each(|item| put_item(to, number, item)),
        Value::Object(fields) => match fields.get(BYTES).and_then(Value::as_str) {
            Some(digits) if fields.len() == 1 => {
                encoding::bytes::encode(number, &from_hexadecimal(digits), to);
            }
            _ => {
                let mut message = Vec::new();
                put_fields(&mut message, value);
                if !message.is_empty() {
                    put_message(to, number, &message);
                }
            }
        },
        Value::Null | Value::Bool(_) => {}
    }
}

/// An item of a list is there even when it is empty.
fn put_item(to: &mut Vec<u8>, number: u32, item: &Value) {
    match item {
        Value::String(text) => encoding::string::encode(number, text, to),
        _ => {
            let mut message = Vec::new();
            put_fields(&mut message, item);
            put_message(to, number, &message);
        }
    }
}

fn put_text(to: &mut Vec<u8>, number: u32, text: &str) {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            encoding::bytes::encode(number, &address.octets().to_vec(), to);
        }
        Ok(IpAddr::V6(address)) => {
            encoding::bytes::encode(number, &address.octets().to_vec(), to);
        }
        Err(_) if text.is_empty() => {}
        Err(_) => encoding::string::encode(number, &text.to_owned(), to),
    }
}

fn put_message(to: &mut Vec<u8>, number: u32, message: &[u8]) {
    encoding::encode_key(number, WireType::LengthDelimited, to);
    encoding::encode_varint(message.len() as u64, to);
    to.extend_from_slice(message);
}

fn from_hexadecimal(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).filter_map(byte).collect()
}
