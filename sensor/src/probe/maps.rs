//! Maps by name, whichever process loaded the programs.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::{Array, Map, MapData},
};

use super::{ProbeError, check, memory};

/// Handles of all maps of the programs.
#[derive(Debug, Default)]
pub struct Maps {
    by_name: BTreeMap<String, Map>,
}

impl Maps {
    /// Makes handles of descriptors, which may come from another process.
    pub fn from_descriptors<N: Into<String>>(
        descriptors: impl IntoIterator<Item = (N, OwnedFd)>,
    ) -> Result<Self, ProbeError> {
        let open = |(name, descriptor): (N, OwnedFd)| {
            let name = name.into();
            let map = MapData::from_fd(descriptor).and_then(Map::from_map_data);
            match map {
                Ok(map) => Ok((name, map)),
                Err(error) => Err(ProbeError::MapForeign { name, why: error.to_string() }),
            }
        };
        let by_name = descriptors.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { by_name })
    }

    /// Takes a map out.
    pub(crate) fn take_map(&mut self, name: &str) -> Option<Map> {
        self.by_name.remove(name)
    }
}

/// The map whose number stands for all.
const SEEN: &str = "SEEN";
/// The section of the object that holds the sensor's own process ids.
pub(super) const SELVES: &str = ".data.selves";

/// Sets the processes whose events the programs leave out.
pub(super) fn set_selves(programs: &mut Ebpf, processes: [u32; 2]) -> Result<(), ProbeError> {
    let unusable =
        |error: &dyn ToString| ProbeError::MapUnusable { name: SELVES, why: error.to_string() };
    let map = programs.map_mut(SELVES).ok_or(ProbeError::Map(SELVES))?;
    let mut selves = Array::<_, [u32; 2]>::try_from(map).map_err(|error| unusable(&error))?;
    selves.set(0, processes, 0).map_err(|error| unusable(&error))
}

/// Returns a number that is the same for as long as the maps are: the kernel's own, and of this
/// boot.
pub(super) fn number(maps: &[(String, OwnedFd)]) -> Result<u64, ProbeError> {
    let unusable = || ProbeError::MapUnusable { name: SEEN, why: "it has no number".to_owned() };
    let (_, seen) = maps.iter().find(|(name, _)| name == SEEN).ok_or(ProbeError::Map(SEEN))?;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", seen.as_raw_fd()));
    let id = check::field(&text.unwrap_or_default(), "map_id").ok_or_else(unusable)?;
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&boot).update(&id.to_le_bytes());
    let digest = hasher.finalize();
    let (first, _) = digest.as_bytes().as_chunks::<8>();
    Ok(u64::from_le_bytes(first[0]))
}

/// Returns a descriptor of each map that user space may use.
pub(super) fn descriptors(programs: &Ebpf) -> Result<Vec<(String, OwnedFd)>, ProbeError> {
    let open = |(name, data): (&str, &MapData)| {
        let descriptor = std::os::fd::AsFd::as_fd(data.fd()).try_clone_to_owned();
        descriptor.map(|descriptor| (name.to_owned(), descriptor)).map_err(|error| {
            ProbeError::MapForeign { name: name.to_owned(), why: error.to_string() }
        })
    };
    let maps = programs.maps().filter_map(|(name, map)| Some((name, memory::data(map)?)));
    maps.map(open).collect()
}
