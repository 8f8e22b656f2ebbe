//! Kernel memory that the maps take.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
    util::nr_cpus,
};

use super::object;

/// The kernel rounds the values of each processor up to words.
const VALUE_ALIGN: u64 = 8;

/// Returns each map's memory as the kernel accounts it.
pub(super) fn of_maps(programs: &Ebpf) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = programs
        .maps()
        .filter_map(|(name, map)| Some((name.to_owned(), bytes(data(map)?)?)))
        .collect();
    all.sort();
    all
}

/// Returns what all maps would take on a machine with so many processors: what each has for each
/// entry and processor grows, and tables that are sized by processors have fewer entries.
pub(super) fn with_processors(programs: &Ebpf, processors: usize) -> u64 {
    let here = nr_cpus().unwrap_or(1) as u64;
    let of_map = |(name, map): (&str, &Map)| {
        let text = info(data(map)?)?;
        let field = |name| field(&text, name);
        let (bytes, entries) = (field("memlock:")?, field("max_entries:")?.max(1));
        let value = match map {
            Map::PerCpuArray(_) | Map::PerCpuHashMap(_) | Map::PerCpuLruHashMap(_) => {
                field("value_size:")?.next_multiple_of(VALUE_ALIGN)
            }
            _ => 0,
        };
        let then = object::entries(name, processors).map_or(entries, u64::from);
        let shared = bytes.saturating_sub(value * entries * here);
        Some(shared * then / entries + value * then * processors as u64)
    };
    programs.maps().filter_map(of_map).sum()
}

/// The kinds of map that the object has.
pub(super) fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerCpuHashMap(data)
        | Map::PerCpuLruHashMap(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

fn bytes(map: &MapData) -> Option<u64> {
    field(&info(map)?, "memlock:")
}

/// What the kernel says of a map that is held.
fn info(map: &MapData) -> Option<String> {
    fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd())).ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}
