//! The object inside this binary, and its globals.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use aya::{Ebpf, EbpfLoader, util::nr_cpus};
use sensor_abi::{
    config::Config,
    flow::{self, FlowKey, FlowStats},
    record::payload::Repeats,
};

use zerocopy::IntoBytes as _;

use super::{ProbeError, Settings, attach::sentence, files, offsets};
use crate::{memory, netns};

/// The compiled kernel programs; empty when the sensor was built without a BPF toolchain.
pub(super) static BYTES: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sensor-ebpf"));

/// Memory for each of the two exact flow tables. Their entries hold one value per CPU, so a machine
/// with many CPUs gets fewer of them, never less than [`FLOWS_MIN`].
const FLOW_TABLE_BYTES: usize = 8 << 20;
const FLOWS_MAX: usize = 16_384;
const FLOWS_MIN: usize = 2_048;
/// Flows for each entry of the table of address pairs, and of that of prefixes.
const FLOWS_PER_PAIR: u32 = 4;
const FLOWS_PER_PREFIX: u32 = 16;
/// Memory for each of the two tables of DNS messages, likewise.
const DNS_TABLE_BYTES: usize = 1 << 20;
const DNS_MAX: usize = 4_096;
const DNS_MIN: usize = 512;
/// What the kernel adds to an entry's key and values: links, hash, a pointer and alignment.
const ENTRY_OVERHEAD: usize = 64;
/// Digits of a version: enough to tell any two apart.
const VERSION_DIGITS: usize = 24;
/// aya's own name for the level of kernel-side diagnostics, and its numbers.
const LOG_LEVEL: &str = aya_log::LEVEL;
const LOG_OFF: u8 = 0;
const LOG_DEBUG: u8 = aya_log::Level::Debug as u8;

/// Creates the maps and sets the globals; loads no program yet.
///
/// `left` names maps that an earlier process left and where; they are used again.
pub(super) fn load(settings: &Settings, left: &[(String, PathBuf)]) -> Result<Ebpf, ProbeError> {
    if BYTES.is_empty() {
        return Err(ProbeError::ObjectMissing);
    }
    // Not part of what names the object: tables of an earlier process are used again.
    let config = Config { payload_seed: rand::random(), ..config(settings)? };
    let level = if settings.kernel_log { LOG_DEBUG } else { LOG_OFF };
    let dns = dns(nr_cpus().unwrap_or(1));
    let meanings = files::meanings();
    let mut loader = EbpfLoader::new();
    for (name, path) in left {
        loader.map_pin_path(name, path.as_path());
    }
    // aya reads the kernel's types before anybody can say that they are not needed.
    loader.btf(None);
    memory::give_back();
    loader
        .override_global("CONFIG", &config, true)
        .override_global("FILE_CALLS", &meanings[..], true)
        .override_global(LOG_LEVEL, &level, true)
        .map_max_entries("FLOWS_EVEN", config.flows.flows_max)
        .map_max_entries("FLOWS_ODD", config.flows.flows_max)
        .map_max_entries("PAIRS_EVEN", config.flows.pairs_max)
        .map_max_entries("PAIRS_ODD", config.flows.pairs_max)
        .map_max_entries("PREFIXES_EVEN", config.flows.prefixes_max)
        .map_max_entries("PREFIXES_ODD", config.flows.prefixes_max)
        .map_max_entries("DNS_EVEN", dns)
        .map_max_entries("DNS_ODD", dns);
    for (ring, bytes) in settings.rings.sizes() {
        loader.map_max_entries(ring, bytes);
    }
    loader.load(BYTES).map_err(|error| ProbeError::Load(sentence(&error)))
}

/// Names the object together with everything that decides what its maps hold.
pub(super) fn version(settings: &Settings) -> Result<String, ProbeError> {
    let config = config(settings)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(BYTES).update(config.as_bytes());
    hasher.update(&flows(nr_cpus().unwrap_or(1)).to_le_bytes());
    for (ring, bytes) in settings.rings.sizes() {
        hasher.update(ring.as_bytes()).update(&bytes.to_le_bytes());
    }
    Ok(hasher.finalize().to_hex()[..VERSION_DIGITS].to_owned())
}

/// Returns how many entries a table has on a machine with so many processors, if that depends.
pub(super) fn entries(map: &str, cpus: usize) -> Option<u32> {
    match map.rsplit_once('_')?.0 {
        "FLOWS" => Some(flows(cpus)),
        "PAIRS" => Some(flows(cpus) / FLOWS_PER_PAIR),
        "PREFIXES" => Some(flows(cpus) / FLOWS_PER_PREFIX),
        "DNS" => Some(dns(cpus)),
        _ => None,
    }
}

fn flows(cpus: usize) -> u32 {
    let entry = size_of::<FlowKey>() + size_of::<FlowStats>() * cpus + ENTRY_OVERHEAD;
    (FLOW_TABLE_BYTES / entry).clamp(FLOWS_MIN, FLOWS_MAX) as u32
}

fn dns(cpus: usize) -> u32 {
    let entry = size_of::<u64>() + size_of::<Repeats>() * cpus + ENTRY_OVERHEAD;
    (DNS_TABLE_BYTES / entry).clamp(DNS_MIN, DNS_MAX) as u32
}

fn config(settings: &Settings) -> Result<Config, ProbeError> {
    let scope = &settings.scope;
    let flows = flows(nr_cpus().unwrap_or(1));
    let layout = offsets::layout();
    let (id, level) = match scope.cgroup.as_deref() {
        Some(path) => cgroup(path)?,
        None => (0, 0),
    };
    Ok(Config {
        scope_cgroup_id: id.to_ne_bytes(),
        scope_cgroup_level: level,
        scope_netns: scope.netns.as_deref().map(netns::inode).transpose()?.unwrap_or(0),
        reserved: 0,
        exit_says_group_dead: u32::from(layout.exit_says_group_dead),
        flows: flow::Settings {
            flows_max: flows,
            pairs_max: flows / FLOWS_PER_PAIR,
            prefixes_max: flows / FLOWS_PER_PREFIX,
            tunnels: u32::from(settings.tunnels),
        },
        payload_seed: 0,
        offsets: layout.offsets,
        filler: Default::default(),
    })
}

/// Returns a cgroup's id, which is its inode number, and its depth below the root of its mount.
fn cgroup(path: &Path) -> Result<(u64, u32), ProbeError> {
    let refuse = |why: String| ProbeError::Cgroup { path: path.to_owned(), why };
    let path = path.canonicalize().map_err(|error| refuse(error.to_string()))?;
    let metadata = path.metadata().map_err(|error| refuse(error.to_string()))?;
    if !path.join("cgroup.controllers").exists() {
        return Err(refuse("it is not a cgroup v2 directory".to_owned()));
    }
    // The root of the hierarchy is where the file system changes.
    let same = |parent: &&Path| parent.metadata().is_ok_and(|up| up.dev() == metadata.dev());
    let level = path.ancestors().skip(1).take_while(same).count();
    Ok((metadata.ino(), level as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_tables_stay_within_their_memory_but_never_vanish() {
        assert_eq!(flows(2), FLOWS_MAX as u32);
        assert_eq!(flows(1024), FLOWS_MIN as u32);
        let middle = flows(16) as usize;
        assert!((FLOWS_MIN..FLOWS_MAX).contains(&middle), "{middle}");
    }

    #[test]
    fn tables_that_depend_on_processors_are_known_by_name() {
        assert_eq!(entries("FLOWS_EVEN", 2), Some(flows(2)));
        assert_eq!(entries("PAIRS_ODD", 64), Some(flows(64) / FLOWS_PER_PAIR));
        assert_eq!((entries("SEEN", 2), entries("CALLS_EVEN", 2)), (None, None));
    }

    #[test]
    fn a_directory_that_is_no_cgroup_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let refused = cgroup(folder.path()).expect_err("it is no cgroup");
        assert!(refused.to_string().contains("not a cgroup v2 directory"), "{refused}");
    }
}
