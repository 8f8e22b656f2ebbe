//! Follows the interfaces of the watched network namespace, and keeps the packet programs attached.
//!
//! Two netlink sockets live in that namespace: one hears of changes, the other is then asked for
//! all interfaces. What is new and chosen is attached to; what is gone, or no longer chosen, is
//! let go. Reading order: [`choose`], [`link`], [`netlink`], [`program`], [`report`].

use std::{collections::BTreeMap, path::PathBuf};

use aya::Ebpf;
use sensor_abi::seen::Signal;
use tracing::{debug, info};

use self::{
    choose::{Choice, Patterns},
    link::Link,
    netlink::Netlink,
    program::{Attached, Attacher, Interface, detach},
    report::Outcome,
};
use super::{HookReport, Settings};
use crate::netns::{self, NetnsError};

mod choose;
mod link;
mod netlink;
mod program;
mod report;

/// Interfaces that get programs; a host with more has most of them short-lived, and each costs a
/// link.
const INTERFACES_MAX: usize = 256;
const LOST_INGRESS: &str = "packets that arrive, and half of each connection's numbers";
const LOST_EGRESS: &str = "packets that leave, and half of each connection's numbers";

/// The watched interfaces.
#[derive(Debug)]
pub(super) struct Interfaces {
    namespace: Option<PathBuf>,
    patterns: Patterns,
    attacher: Attacher,
    /// `None` when the kernel gives no such socket; then interfaces are not followed.
    netlink: Option<Netlink>,
    watched: BTreeMap<u32, Interface>,
    /// Interfaces that carry what the programs cannot read.
    unreadable: Vec<String>,
    /// Interfaces that were asked for and are not there, or are too many.
    missing: Vec<String>,
    error: Option<String>,
}

impl Interfaces {
    /// Chooses interfaces; attaches to none yet.
    pub(super) fn new(settings: &Settings) -> Result<Self, NetnsError> {
        let namespace = settings.scope.netns.clone();
        let opened = netns::inside(namespace.as_deref(), Netlink::open)?;
        let error = opened.as_ref().err().map(|e| format!("could not follow interfaces: {e}"));
        Ok(Self {
            namespace,
            patterns: patterns(settings),
            attacher: Attacher::new(settings.xdp, settings.beside),
            netlink: opened.ok(),
            watched: BTreeMap::new(),
            unreadable: Vec::new(),
            missing: Vec::new(),
            error,
        })
    }

    /// Loads what [`Self::attach`] attaches, so that it takes no time then.
    pub(super) fn load_ahead(&mut self, programs: &mut Ebpf) {
        let Some(Ok(links)) = self.netlink.as_mut().map(Netlink::links) else { return };
        let wanted = self.wanted(links);
        let loaded = netns::inside(self.namespace.as_deref(), || {
            wanted.values().for_each(|link| Attacher::load_ahead(programs, link));
        });
        if let Err(error) = loaded {
            debug!(%error, "the watched namespace may be gone");
        }
    }

    /// Attaches to every chosen interface.
    pub(super) fn attach(&mut self, programs: &mut Ebpf) -> Result<(), NetnsError> {
        self.look(programs).map(drop)
    }

    /// Takes up what has changed since the last call; says whether anything has. Costs one system
    /// call when nothing has.
    pub(super) fn follow(&mut self, programs: &mut Ebpf) -> bool {
        let Some(heard) = self.netlink.as_mut().map(Netlink::heard) else { return false };
        let mut changed = false;
        for index in heard.gone {
            changed |= self.let_go(programs, index);
        }
        changed | (heard.changed && self.look_or_log(programs))
    }

    /// Watches what other settings choose from now on.
    pub(super) fn choose(&mut self, programs: &mut Ebpf, settings: &Settings) {
        self.patterns = patterns(settings);
        self.look_or_log(programs);
    }

    /// Attaches anew to an interface whose program somebody else took off.
    pub(super) fn renew(&mut self, programs: &mut Ebpf, index: u32) {
        self.let_go(programs, index);
        self.look_or_log(programs);
    }

    /// Returns what became of both programs.
    pub(super) fn report(&self) -> [HookReport; 2] {
        if self.patterns.is_nothing() {
            let off = |name, lost| HookReport::switched_off(name, Signal::Flow, lost);
            return [off("ingress", LOST_INGRESS), off("egress", LOST_EGRESS)];
        }
        let (mut arrived, mut left) = (Outcome::default(), Outcome::default());
        for interface in self.watched.values() {
            arrived.add(&interface.link.name, &interface.ingress.state);
            left.add(&interface.link.name, &interface.egress.state);
        }
        for outcome in [&mut arrived, &mut left] {
            outcome.errors.extend(self.error.clone());
            outcome.errors.extend(self.missing.iter().cloned());
            let why = "not watched, because it carries neither Ethernet nor IP";
            self.unreadable.iter().for_each(|name| outcome.stands_in(why, name));
        }
        [arrived.report("ingress", LOST_INGRESS), left.report("egress", LOST_EGRESS)]
    }

    /// Removes what would stay behind when a link is no file descriptor, before the programs go.
    pub(super) fn detach_all(&mut self, programs: &mut Ebpf) {
        let watched = std::mem::take(&mut self.watched);
        let links = watched.into_values().flat_map(|i| [i.ingress.link, i.egress.link]);
        let links: Vec<Attached> = links.flatten().collect();
        let detached = netns::inside(self.namespace.as_deref(), || {
            links.into_iter().for_each(|link| detach(programs, link));
        });
        if let Err(error) = detached {
            debug!(%error, "packet programs could not be detached; their namespace may be gone");
        }
    }

    fn look_or_log(&mut self, programs: &mut Ebpf) -> bool {
        match self.look(programs) {
            Ok(changed) => changed,
            Err(error) => {
                debug!(%error, "the watched namespace may be gone");
                false
            }
        }
    }

    /// Asks for all interfaces and brings what is attached in line; says whether that changed
    /// anything.
    fn look(&mut self, programs: &mut Ebpf) -> Result<bool, NetnsError> {
        let Some(netlink) = &mut self.netlink else { return Ok(false) };
        let links = match netlink.links() {
            Ok(links) => links,
            Err(error) => {
                self.error = Some(format!("could not list interfaces: {error}"));
                return Ok(true);
            }
        };
        self.error = None;
        let before = (std::mem::take(&mut self.missing), std::mem::take(&mut self.unreadable));
        let names = self.patterns.missing(&links);
        self.missing = names.map(|name| format!("{name}: no such interface")).collect();
        let wanted = self.wanted(links);
        let mut changed = before.0 != self.missing || before.1 != self.unreadable;
        let gone: Vec<u32> =
            self.watched.keys().filter(|index| !wanted.contains_key(index)).copied().collect();
        for index in gone {
            changed |= self.let_go(programs, index);
        }
        let new: Vec<Link> = wanted
            .into_iter()
            .filter_map(|(index, link)| match self.watched.get_mut(&index) {
                Some(known) => {
                    known.link.name = link.name;
                    None
                }
                None => Some(link),
            })
            .collect();
        if new.is_empty() {
            return Ok(changed);
        }
        let attacher = &self.attacher;
        let attached = netns::inside(self.namespace.as_deref(), || {
            new.iter().map(|link| attacher.attach(programs, link)).collect::<Vec<_>>()
        })?;
        for interface in attached {
            let (ingress, egress) = (interface.ingress.state.how, interface.egress.state.how);
            info!(interface = interface.link.name, ?ingress, ?egress, "interface");
            self.watched.insert(interface.link.index, interface);
        }
        Ok(true)
    }

    /// Returns the interfaces to watch, by their number, and notes those that cannot be.
    fn wanted(&mut self, links: Vec<Link>) -> BTreeMap<u32, Link> {
        let mut wanted = BTreeMap::new();
        for link in links {
            match self.patterns.choice(&link) {
                Choice::LeftOut => {}
                Choice::Unreadable => self.unreadable.push(link.name),
                Choice::Watched if wanted.len() < INTERFACES_MAX => {
                    wanted.insert(link.index, link);
                }
                Choice::Watched => {
                    let limit = format!("over the limit of {INTERFACES_MAX} interfaces");
                    self.missing.push(format!("{}: {limit}", link.name));
                }
            }
        }
        wanted
    }

    /// Detaches from an interface; says whether it was watched.
    fn let_go(&mut self, programs: &mut Ebpf, index: u32) -> bool {
        let Some(interface) = self.watched.remove(&index) else { return false };
        info!(interface = interface.link.name, "interface is no longer watched");
        let links: Vec<Attached> =
            [interface.ingress.link, interface.egress.link].into_iter().flatten().collect();
        let _gone = netns::inside(self.namespace.as_deref(), || {
            links.into_iter().for_each(|link| detach(programs, link));
        });
        true
    }
}

fn patterns(settings: &Settings) -> Patterns {
    if settings.wants(Signal::Flow) {
        Patterns::new(&settings.interfaces)
    } else {
        Patterns::nothing()
    }
}
