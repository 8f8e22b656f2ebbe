//! Notices programs that somebody else has detached: looks at the links that this process holds, as
//! the kernel shows them.

use std::{collections::BTreeMap, fs, os::fd::RawFd};

/// Most descriptors that are looked at; the sensor has far fewer.
const DESCRIPTORS_MAX: usize = 4_096;

/// Links that hang on an interface, which are those that can be taken off behind our back.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Link id → interface.
    known: BTreeMap<u32, u32>,
    /// How many were taken off.
    pub(super) taken_off: u64,
}

impl Links {
    /// Looks at all links; returns the interfaces that have lost one since the last look. A link
    /// whose interface is gone looks the same, so the caller asks whether it is still there.
    pub(super) fn look(&mut self) -> Vec<u32> {
        let now = shown();
        let lost = |(id, interface): (&u32, &u32)| match now.get(id) {
            Some(0) => Some(*interface),
            _ => None,
        };
        let lost: Vec<u32> = self.known.iter().filter_map(lost).collect();
        self.known = now.into_iter().filter(|(_, interface)| *interface != 0).collect();
        lost
    }
}

/// Returns the descriptor of each link that this process holds, by the link's id.
pub(super) fn links() -> BTreeMap<u32, RawFd> {
    let id = |text: &str| field(text, "link_id");
    each(|descriptor, text| Some((id(text)?, descriptor)))
}

/// Returns link id → interface, which is 0 once the link has none.
fn shown() -> BTreeMap<u32, u32> {
    each(|_, text| parse(text))
}

/// Builds a table of what the kernel says of each descriptor.
fn each<T>(take: impl Fn(RawFd, &str) -> Option<(u32, T)>) -> BTreeMap<u32, T> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return BTreeMap::new() };
    let one = |entry: fs::DirEntry| {
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        take(descriptor, &fs::read_to_string(entry.path()).ok()?)
    };
    entries.flatten().take(DESCRIPTORS_MAX).filter_map(one).collect()
}

fn parse(text: &str) -> Option<(u32, u32)> {
    Some((field(text, "link_id")?, field(text, "ifindex")?))
}

/// Returns a number of a descriptor's description.
pub(super) fn field(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_on_interfaces_are_told_from_others() {
        let xdp = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tab\n\
                   prog_id:\t9\nifindex:\t4\n";
        assert_eq!(parse(xdp), Some((7, 4)));
        assert_eq!(parse("link_type:\traw_tracepoint\nlink_id:\t8\ntp_name:\tx\n"), None);
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
    }

    #[test]
    fn a_link_without_its_interface_is_told_once() {
        let mut links = Links { known: BTreeMap::from([(u32::MAX, 4)]), taken_off: 0 };
        assert!(links.look().is_empty(), "a link that we closed ourselves is no loss");
        assert!(links.look().is_empty());
    }
}
