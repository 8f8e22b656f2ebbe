//! Kernel memory that the maps take.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};

/// Returns each map's memory as the kernel accounts it.
pub(super) fn of_maps(programs: &Ebpf) -> Vec<(String, u64)> {
    let mut all: Vec<(String, u64)> = programs
        .maps()
        .filter_map(|(name, map)| Some((name.to_owned(), bytes(data(map)?)?)))
        .collect();
    all.sort();
    all
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
    let descriptor = map.fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("memlock:"))?;
    value.trim().parse().ok()
}
