//! Bytes of a record on the wire, beside the same record in the formats of others; and how many
//! records one core packs and unpacks in a second.

use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use wire::batch::Batch;
use wire::codec;

use crate::{json, protobuf};

/// gzip's own default.
const GZIP_LEVEL: u32 = 6;

/// At most this part of JSON, of compressed JSON, and of Protobuf.
const GOALS: [(&str, f64); 3] = [("json", 20.0), ("gzip_json", 4.0), ("protobuf", 3.0)];

/// Turns of which the best counts, and the least time of one.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_millis(400);

/// What some batches take.
#[derive(Clone, Debug, Default)]
pub struct Size {
    /// What they are.
    pub name: String,
    batches: usize,
    records: usize,
    wire: usize,
    json: usize,
    gzip_json: usize,
    protobuf: usize,
    gzip_protobuf: usize,
}

impl Size {
    /// Packs the batches in all formats, each batch by itself.
    pub fn measure(name: &str, batches: &[Batch]) -> Result<Self> {
        let mut size = Self { name: name.to_owned(), batches: batches.len(), ..Self::default() };
        for batch in batches {
            let events = json::events(batch);
            let (text, message) = (json::lines(&events), protobuf::message(&events));
            size.records += batch.record_count();
            size.wire += codec::encode_batch(batch).context("failed to encode a batch")?.len();
            size.json += text.len();
            size.gzip_json += gzip(text.as_bytes())?;
            size.protobuf += message.len();
            size.gzip_protobuf += gzip(&message)?;
        }
        Ok(size)
    }

    fn each(&self, bytes: usize) -> f64 {
        bytes as f64 / self.records.max(1) as f64
    }

    fn times(&self, bytes: usize) -> f64 {
        bytes as f64 / self.wire.max(1) as f64
    }

    fn measured(&self, format: &str) -> f64 {
        self.times(match format {
            "json" => self.json,
            "gzip_json" => self.gzip_json,
            _ => self.protobuf,
        })
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "bench": "wire", "row": self.name, "batches": self.batches, "records": self.records,
            "wire_bytes": self.each(self.wire), "json_bytes": self.each(self.json),
            "gzip_json_bytes": self.each(self.gzip_json),
            "protobuf_bytes": self.each(self.protobuf),
            "gzip_protobuf_bytes": self.each(self.gzip_protobuf),
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        let column = |bytes| format!("{:.1} ({:.1})", self.each(bytes), self.times(bytes));
        format!(
            "{:<12} {:>8} {:>8} {:>9.1} {:>16} {:>15} {:>15} {:>15}",
            self.name,
            self.records,
            self.batches,
            self.each(self.wire),
            column(self.json),
            column(self.gzip_json),
            column(self.protobuf),
            column(self.gzip_protobuf),
        )
    }

    /// The goals and whether they are reached.
    pub fn goals(&self) -> Vec<(Value, String)> {
        let goal = |(format, least): (&str, f64)| {
            let measured = self.measured(format);
            let met = measured >= least;
            let verdict = if met { "met" } else { "MISSED" };
            let line = format!(
                "goal {verdict}: {} is 1/{measured:.1} of {format}, at most 1/{least}",
                self.name
            );
            let json = json!({
                "bench": "wire", "goal": format, "row": self.name, "least_times": least,
                "measured_times": measured, "met": met,
            });
            (json, line)
        };
        GOALS.into_iter().map(goal).collect()
    }
}

/// Heading of the table.
pub fn heading() -> String {
    format!(
        "bytes per record; in brackets how many times ours\n\
         {:<12} {:>8} {:>8} {:>9} {:>16} {:>15} {:>15} {:>15}",
        "SIGNAL", "RECORDS", "BATCHES", "OURS", "JSON", "GZIP JSON", "PROTOBUF", "GZIP PROTOBUF"
    )
}

/// Records that one core packs and unpacks in a second.
#[derive(Clone, Debug)]
pub struct Speed {
    /// Of which batches.
    pub name: String,
    encode: f64,
    decode: f64,
}

impl Speed {
    /// Packs and unpacks the batches again and again.
    pub fn measure(name: &str, batches: &[Batch]) -> Result<Self> {
        let records: usize = batches.iter().map(Batch::record_count).sum();
        let frames: Vec<Vec<u8>> =
            batches.iter().map(codec::encode_batch).collect::<Result<_, _>>()?;
        let encode = best(records, || {
            for batch in batches {
                black_box(codec::encode_batch(black_box(batch)).is_ok());
            }
        });
        let decode = best(records, || {
            for frame in &frames {
                black_box(codec::decode_batch_frame(black_box(frame)).is_ok());
            }
        });
        Ok(Self { name: name.to_owned(), encode, decode })
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "bench": "wire", "speed": self.name, "encode_records_per_second": self.encode.round(),
            "decode_records_per_second": self.decode.round(),
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        format!(
            "{:<12} packs {:.0} and unpacks {:.0} records a second on one core",
            self.name, self.encode, self.decode
        )
    }
}

fn best(records: usize, mut pass: impl FnMut()) -> f64 {
    let turn = |_| {
        let (start, mut passes) = (Instant::now(), 0);
        while start.elapsed() < TURN {
            pass();
            passes += 1;
        }
        (passes * records) as f64 / start.elapsed().as_secs_f64()
    };
    (0..TURNS).map(turn).fold(0.0, f64::max)
}

fn gzip(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}
