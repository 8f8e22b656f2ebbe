//! A batch field by field instead of record by record: what is alike stands together, so that most
//! of it need not be written, and the rest compresses.
//!
//! Each field of a signal is one column of numbers ([`number`]). Strings are numbers already. The
//! two ends of a connection, which a flow, its socket and its uses all name, are kept once per
//! batch ([`ends`]). [`rows`] says which columns a record has, and in which order.

use crate::batch::{Batch, Clock, Lane, Position};
use crate::limits;
use crate::record::Coverage;
use crate::text::StringTable;

mod ends;
mod number;
mod rows;

use ends::EndsTable;
use number::{Packer, Unpacker};
use rows::Rows;

/// What is wrong with packed bytes.
pub(crate) type Fault = &'static str;

/// Packs a batch.
pub(crate) fn pack(batch: &Batch) -> Vec<u8> {
    let mut to = Packer::default();
    put_head(batch, &mut to);
    each_signal!(put_rows, batch, &mut to);
    to.number(u64::from(batch.coverage.is_some()));
    if let Some(coverage) = &batch.coverage {
        put_coverage(coverage, &mut to);
    }
    to.finish()
}

/// Unpacks a batch. Counts are checked before there is room made for what they announce; whether
/// indexes lead somewhere is checked by [`Batch::check`].
pub(crate) fn unpack(bytes: &[u8]) -> Result<Batch, Fault> {
    let mut from = Unpacker::new(bytes)?;
    let mut batch = take_head(&mut from)?;
    each_signal!(take_rows, batch, &mut from);
    if from.number()? != 0 {
        batch.coverage = Some(take_coverage(&mut from)?);
    }
    from.end()?;
    Ok(batch)
}

/// Calls `$act` for the records of each signal, in the order in which they are packed.
macro_rules! each_signal {
    ($act:ident, $batch:ident, $with:expr) => {
        $act!(
            $batch, $with, execs exits flows connections privileges syscalls activities uses sweeps
            dns tls files memory urings logins inventory scans
        )
    };
}
use each_signal;

macro_rules! put_rows {
    ($batch:ident, $to:expr, $($column:ident)*) => {
        $($to.number($batch.$column.len() as u64); Rows::put(&$batch.$column, $to);)*
    };
}
use put_rows;

macro_rules! take_rows {
    ($batch:ident, $from:expr, $($column:ident)*) => {{
        let mut room = limits::RECORDS_MAX;
        $(
            let count = $from.count(room)?;
            room -= count;
            $batch.$column = rows_of($from, count)?;
        )*
        let _ = room;
    }};
}
use take_rows;

fn rows_of<R: Rows>(from: &mut Unpacker, count: usize) -> Result<Vec<R>, Fault> {
    let mut rows = vec![R::default(); count];
    R::take(&mut rows, from)?;
    Ok(rows)
}

fn put_head(batch: &Batch, to: &mut Packer) {
    let Batch { position, clock, strings, processes, .. } = batch;
    for number in [position.epoch, position.lane as u64, position.seq, clock.boot_ns, clock.unix_ns]
    {
        to.number(number);
    }
    let (bytes, ends) = strings.parts();
    to.number(ends.len() as u64);
    to.numbers(ends.iter().enumerate().map(|(index, end)| {
        let start = if index == 0 { 0 } else { ends[index - 1] };
        u64::from(end.wrapping_sub(start))
    }));
    to.number(bytes.len() as u64);
    to.bytes(bytes);
    to.number(processes.len() as u64);
    Rows::put(processes, to);
}

fn take_head(from: &mut Unpacker) -> Result<Batch, Fault> {
    let epoch = from.number()?;
    let lane = from.number()?;
    let lane = Lane::ALL.into_iter().find(|known| *known as u64 == lane);
    let lane = lane.ok_or("there is no such lane")?;
    let position = Position { epoch, lane, seq: from.number()? };
    let clock = Clock { boot_ns: from.number()?, unix_ns: from.number()? };
    let mut batch = Batch::empty(position, clock);
    let count = from.count(limits::STRINGS_MAX)?;
    let mut end = 0_u32;
    let mut ends = Vec::with_capacity(count);
    let lengths = from.numbers(count)?;
    for &length in &lengths {
        let length = u32::try_from(length).map_err(|_| "a string is too long")?;
        end = end.checked_add(length).ok_or("the strings are too long")?;
        ends.push(end);
    }
    from.used_up(lengths);
    let length = from.count(limits::STRING_BYTES_MAX)?;
    batch.strings = StringTable::of_parts(from.bytes(length)?.to_vec(), ends);
    let count = from.count(limits::PROCESSES_MAX)?;
    batch.processes = rows_of(from, count)?;
    Ok(batch)
}

fn put_coverage(coverage: &Coverage, to: &mut Packer) {
    let Coverage { start_ns, end_ns, drain_lag_ns, cpu_ns, memory_bytes, canary_ns, .. } =
        *coverage;
    for number in [start_ns, end_ns, drain_lag_ns, cpu_ns, memory_bytes, canary_ns] {
        to.number(number);
    }
    to.number(coverage.hooks.len() as u64);
    Rows::put(&coverage.hooks, to);
    to.number(coverage.ledger.len() as u64);
    Rows::put(&coverage.ledger, to);
    to.number(coverage.maps.len() as u64);
    Rows::put(&coverage.maps, to);
}

fn take_coverage(from: &mut Unpacker) -> Result<Coverage, Fault> {
    let mut coverage = Coverage {
        start_ns: from.number()?,
        end_ns: from.number()?,
        drain_lag_ns: from.number()?,
        cpu_ns: from.number()?,
        memory_bytes: from.number()?,
        canary_ns: from.number()?,
        ..Coverage::default()
    };
    let count = from.count(limits::HOOKS_MAX)?;
    coverage.hooks = rows_of(from, count)?;
    let count = from.count(limits::LEDGER_MAX)?;
    coverage.ledger = rows_of(from, count)?;
    let count = from.count(limits::MAPS_MAX)?;
    coverage.maps = rows_of(from, count)?;
    Ok(coverage)
}
