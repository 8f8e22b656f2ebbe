//! Notices programs that somebody else has detached, exchanged or closed: looks at the links that
//! this process holds, as the kernel shows them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::{fd::RawFd, unix::ffi::OsStrExt as _},
};

use super::fixed;

/// Most descriptors that are looked at; the sensor has far fewer.
const DESCRIPTORS_MAX: usize = 4_096;
/// What the names of descriptors of links end with: one that was made, one that was opened by name.
const LINK: [&str; 2] = ["bpf_link", "bpf-link"];
const PROGRAM: [&str; 1] = ["bpf-prog"];
const OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Types of the links that hang on an interface: `bpf_link_type` of the kernel.
const ON_INTERFACES: [u32; 2] = [6, 11];

/// The part of `bpf_attr` that asks what a descriptor is.
#[repr(C)]
#[derive(Default)]
struct InfoAttributes {
    descriptor: u32,
    length: u32,
    info: u64,
}

/// The part of `bpf_link_info` that is read. The kernel writes no more of it than fits.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    /// The interface's number, where it hangs on one.
    interface: u32,
    /// What others have there: none of it is asked for, so it has to be zero.
    rest: [u32; 3],
}

/// What this process holds to keep the programs attached.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// The descriptors of the links, until this process attaches or detaches anything; none while
    /// they are not known.
    descriptors: Vec<RawFd>,
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
        if !self.are_known() {
            self.descriptors = links().into_values().collect();
        }
        let shown = self.descriptors.iter().filter_map(|descriptor| ask(*descriptor));
        self.compare(&shown.map(|link| (link.id, link)).collect())
    }

    /// Notes that this process has attached or detached something.
    pub(super) fn changed(&mut self) {
        self.descriptors.clear();
    }

    /// Returns whether this process has changed nothing since the last look.
    pub(super) fn are_known(&self) -> bool {
        !self.descriptors.is_empty()
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
        // New links have no names yet; the next look gives them.
        self.changed();
        let now = links().into_values().filter_map(ask);
        self.others = now.filter(|link| link.interface.is_none()).map(|link| link.id).collect();
    }
}

/// Returns the descriptor of each link that this process holds, by the link's id.
pub(super) fn links() -> BTreeMap<u32, RawFd> {
    named(&LINK).filter_map(|descriptor| Some((ask(descriptor)?.id, descriptor))).collect()
}

/// Returns the descriptor of each program that this process holds, by the program's id.
pub(super) fn programs() -> BTreeMap<u32, RawFd> {
    let id = |descriptor| {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
        Some((field(&text, "prog_id")?, descriptor))
    };
    named(&PROGRAM).filter_map(id).collect()
}

/// Asks the kernel about a link; nothing when the descriptor is closed.
fn ask(descriptor: RawFd) -> Option<Shown> {
    let mut info = LinkInfo::default();
    let mut attributes = InfoAttributes {
        descriptor: descriptor.cast_unsigned(),
        length: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info).expose_provenance() as u64,
    };
    fixed::bpf(OBJ_GET_INFO_BY_FD, &mut attributes).ok()?;
    let interface = ON_INTERFACES.contains(&info.kind).then_some(info.interface);
    Some(Shown { id: info.id, program: info.program, interface })
}

/// Returns this process's descriptors with such names.
fn named(kinds: &[&str]) -> impl Iterator<Item = RawFd> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries.take(DESCRIPTORS_MAX).filter_map(|entry| {
        let name = fs::read_link(entry.path()).ok()?;
        let name = name.as_os_str().as_bytes();
        let fits = kinds.iter().any(|kind| name.ends_with(kind.as_bytes()));
        fits.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    })
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
    fn fields_are_read_from_what_the_kernel_shows() {
        let xdp = "pos:\t0\nflags:\t02000000\nlink_type:\txdp\nlink_id:\t7\nprog_tag:\tab\n\
                   prog_id:\t9\nifindex:\t4\n";
        assert_eq!((field(xdp, "link_id"), field(xdp, "prog_id")), (Some(7), Some(9)));
        assert_eq!(field("pos:\t0\nflags:\t02\n", "link_id"), None);
    }

    #[test]
    fn what_is_no_descriptor_is_no_link() {
        assert_eq!((ask(-1), ask(0)), (None, None));
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
