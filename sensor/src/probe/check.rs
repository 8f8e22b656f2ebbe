//! Notices programs that somebody else has detached, exchanged or closed: looks at the links that
//! this process holds, as the kernel shows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{fd::RawFd, unix::ffi::OsStrExt as _},
};

/// Most descriptors that are looked at; the sensor has far fewer.
const DESCRIPTORS_MAX: usize = 4_096;
/// What the names of descriptors of programs and of maps end with: most are those, and what the
/// kernel says of them is worth no look where links are wanted.
const NO_LINKS: [&[u8]; 2] = [b"bpf-prog", b"bpf-map"];

/// What this process holds to keep the programs attached.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// Links that hang on an interface, which can be taken off behind our back, by their id.
    on_interfaces: BTreeMap<u32, Shown>,
    /// All others: they stay for as long as their descriptors are open.
    others: BTreeSet<u32>,
    /// How many were taken off an interface, or got another program there.
    pub(super) taken_off: u64,
    /// How many others are gone.
    pub(super) closed: u64,
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    id: u32,
    program: u32,
    /// Zero once the link has none; nothing for links that hang on something else.
    interface: Option<u32>,
}

impl Links {
    /// Looks at all links; returns the interfaces that have lost one since the last look. A link
    /// whose interface is gone looks the same, so the caller asks whether it is still there.
    pub(super) fn look(&mut self) -> Vec<u32> {
        self.compare(&shown())
    }

    fn compare(&mut self, now: &BTreeMap<u32, Shown>) -> Vec<u32> {
        let lost = |before: &Shown| {
            let now = now.get(&before.id)?;
            let exchanged = now.program != before.program;
            (now.interface == Some(0) || exchanged).then_some(before.interface?)
        };
        let lost: Vec<u32> = self.on_interfaces.values().filter_map(lost).collect();
        let held = now.values().filter(|link| link.interface.is_some_and(|index| index != 0));
        self.on_interfaces = held.map(|link| (link.id, *link)).collect();
        let gone = self.others.extract_if(.., |id| !now.contains_key(id)).count();
        self.closed += gone as u64;
        lost
    }

    /// Takes what is held now as what should be held, after this process has changed it.
    pub(super) fn remember(&mut self) {
        let now = shown();
        self.others = now.values().filter(|l| l.interface.is_none()).map(|l| l.id).collect();
    }
}

/// Returns the descriptor of each link that this process holds, by the link's id.
pub(super) fn links() -> BTreeMap<u32, RawFd> {
    let id = |text: &str| field(text, "link_id");
    each(may_be_link, |descriptor, text| Some((id(text)?, descriptor)))
}

/// Returns the descriptor of each program that this process holds, by the program's id.
pub(super) fn programs() -> BTreeMap<u32, RawFd> {
    each(
        |_| true,
        |descriptor, text| match field(text, "link_id") {
            None => Some((field(text, "prog_id")?, descriptor)),
            Some(_) => None,
        },
    )
}

fn shown() -> BTreeMap<u32, Shown> {
    each(may_be_link, |_, text| parse(text).map(|link| (link.id, link)))
}

fn may_be_link(descriptor: RawFd) -> bool {
    let name = fs::read_link(format!("/proc/self/fd/{descriptor}")).unwrap_or_default();
    !NO_LINKS.iter().any(|kind| name.as_os_str().as_bytes().ends_with(kind))
}

/// Builds a table of what the kernel says of each descriptor that is wanted.
fn each<T>(
    is_wanted: impl Fn(RawFd) -> bool,
    take: impl Fn(RawFd, &str) -> Option<(u32, T)>,
) -> BTreeMap<u32, T> {
    let Ok(entries) = fs::read_dir("/proc/self/fdinfo") else { return BTreeMap::new() };
    let one = |entry: fs::DirEntry| {
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        if !is_wanted(descriptor) {
            return None;
        }
        take(descriptor, &fs::read_to_string(entry.path()).ok()?)
    };
    entries.flatten().take(DESCRIPTORS_MAX).filter_map(one).collect()
}

fn parse(text: &str) -> Option<Shown> {
    let (id, program) = (field(text, "link_id")?, field(text, "prog_id")?);
    Some(Shown { id, program, interface: field(text, "ifindex") })
}

/// Returns a number of a descriptor's description.
pub(super) fn field(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_start_matches(':').trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const XDP: Shown = Shown { id: 7, program: 9, interface: Some(4) };
    const TRACEPOINT: Shown = Shown { id: 8, program: 3, interface: None };

    #[test]
    fn links_on_interfaces_are_told_from_others() {
        let xdp = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tab\n\
                   prog_id:\t9\nifindex:\t4\n";
        assert_eq!(parse(xdp), Some(XDP));
        let other = "link_type:\traw_tracepoint\nlink_id:\t8\nprog_tag:\tab\nprog_id:\t3\n\
                     tp_name:\tx\n";
        assert_eq!(parse(other), Some(TRACEPOINT));
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
    }

    fn held(links: &[Shown]) -> BTreeMap<u32, Shown> {
        links.iter().map(|link| (link.id, *link)).collect()
    }

    #[test]
    fn a_link_that_loses_its_interface_or_its_program_is_told_once() {
        let changes = [Shown { interface: Some(0), ..XDP }, Shown { program: 10, ..XDP }];
        for changed in changes {
            let mut links = Links::default();
            assert_eq!(links.compare(&held(&[XDP])), [0; 0]);
            assert_eq!(links.compare(&held(&[changed])), [4]);
            assert_eq!(links.compare(&held(&[changed])), [0; 0]);
        }
        let mut links = Links::default();
        links.compare(&held(&[XDP]));
        assert_eq!(links.compare(&held(&[])), [0; 0], "a link that we closed ourselves is no loss");
    }

    #[test]
    fn a_link_that_should_be_there_and_is_not_is_counted_once() {
        let mut links = Links { others: BTreeSet::from([TRACEPOINT.id]), ..Links::default() };
        for (now, closed) in [(&[TRACEPOINT][..], 0), (&[XDP], 1), (&[], 1)] {
            links.compare(&held(now));
            assert_eq!(links.closed, closed);
        }
    }
}
