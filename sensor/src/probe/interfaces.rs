//! Attaches the packet programs to interfaces, inside the watched network namespace.

use std::{collections::BTreeMap, path::Path};

use aya::{
    Ebpf,
    programs::{ProgramError, SchedClassifier, TcAttachType, Xdp, tc, xdp},
};
use nix::{
    libc,
    net::if_::if_nameindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use tracing::debug;

use super::{HookReport, Settings, XdpMode, attach};
use crate::netns::{self, NetnsError};

const INGRESS: &str = "flow_ingress";
const EGRESS: &str = "flow_egress";
/// Interfaces that get programs; a host with more has most of them short-lived, and each costs a
/// link.
const INTERFACES_MAX: usize = 256;

/// What became of one program on each interface.
#[derive(Debug, Default)]
struct Outcome {
    /// How, and on which interfaces.
    attached: BTreeMap<String, Vec<String>>,
    /// Why not in the best way, and on which interfaces.
    stands_in: BTreeMap<String, Vec<String>>,
    errors: Vec<String>,
}

impl Outcome {
    fn attached(&mut self, how: &str, name: &str) {
        self.attached.entry(how.to_owned()).or_default().push(name.to_owned());
    }

    fn stands_in(&mut self, why: &str, name: &str) {
        self.stands_in.entry(why.to_owned()).or_default().push(name.to_owned());
    }
}

/// Loads both packet programs and attaches them to every watched interface.
pub(super) fn attach_all(
    programs: &mut Ebpf,
    settings: &Settings,
) -> Result<[HookReport; 2], NetnsError> {
    let mut arrived = Outcome::default();
    let mut left = Outcome::default();
    load::<Xdp>(programs, INGRESS, Xdp::load, &mut arrived);
    load::<SchedClassifier>(programs, EGRESS, SchedClassifier::load, &mut left);
    netns::inside(settings.scope.netns.as_deref(), || {
        for name in watched(settings, &mut arrived, &mut left) {
            if arrived.errors.is_empty() || !arrived.attached.is_empty() {
                ingress(programs, &name, settings.xdp, &mut arrived);
            }
            if left.errors.is_empty() || !left.attached.is_empty() {
                egress(programs, &name, &mut left);
            }
        }
    })?;
    Ok([
        report("ingress", arrived, "packets that arrive, and half of each connection's numbers"),
        report("egress", left, "packets that leave, and half of each connection's numbers"),
    ])
}

/// Removes what would stay behind when a link is no file descriptor, before the programs go.
pub(super) fn detach_all(programs: &mut Ebpf, namespace: Option<&Path>) {
    let detached = netns::inside(namespace, || {
        for name in [INGRESS, EGRESS] {
            if let Some(program) = programs.program_mut(name) {
                let _not_loaded = match program {
                    aya::programs::Program::Xdp(xdp) => xdp.unload(),
                    aya::programs::Program::SchedClassifier(tc) => tc.unload(),
                    _ => Ok(()),
                };
            }
        }
    });
    if let Err(error) = detached {
        debug!(%error, "packet programs could not be detached; their namespace may be gone");
    }
}

fn load<'a, P>(
    programs: &'a mut Ebpf,
    name: &str,
    load: fn(&mut P) -> Result<(), ProgramError>,
    outcome: &mut Outcome,
) where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
    P: 'a,
{
    if let Err(error) = attach::typed::<P>(programs, name).and_then(load) {
        outcome.errors.push(attach::sentence(&error));
    }
}

/// Returns the interfaces to watch: the named ones, or all but loopback that carry Ethernet frames.
fn watched(settings: &Settings, arrived: &mut Outcome, left: &mut Outcome) -> Vec<String> {
    let mut names = Vec::new();
    let all = match if_nameindex() {
        Ok(all) => all,
        Err(error) => {
            arrived.errors.push(format!("could not list interfaces: {error}"));
            left.errors.push(format!("could not list interfaces: {error}"));
            return names;
        }
    };
    let all: Vec<String> =
        all.iter().map(|each| each.name().to_string_lossy().into_owned()).collect();
    for name in &settings.interfaces {
        if !all.contains(name) {
            arrived.errors.push(format!("{name}: no such interface"));
            left.errors.push(format!("{name}: no such interface"));
        }
    }
    for name in all {
        let chosen = settings.interfaces.contains(&name);
        let frames = frames_of(&name);
        if chosen || (settings.interfaces.is_empty() && frames == Frames::Ethernet) {
            names.push(name);
        } else if settings.interfaces.is_empty() && frames == Frames::Other {
            arrived.stands_in("not watched, because it carries no Ethernet frames", &name);
            left.stands_in("not watched, because it carries no Ethernet frames", &name);
        }
    }
    for name in names.split_off(names.len().min(INTERFACES_MAX)) {
        arrived.errors.push(format!("{name}: over the limit of {INTERFACES_MAX} interfaces"));
        left.errors.push(format!("{name}: over the limit of {INTERFACES_MAX} interfaces"));
    }
    names
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Frames {
    Ethernet,
    Loopback,
    Other,
}

/// Asks the kernel what an interface carries; sysfs would show the wrong namespace's interfaces.
fn frames_of(name: &str) -> Frames {
    let Ok(socket) = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
    else {
        return Frames::Other;
    };
    // SAFETY: an all-zero `ifreq` is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = from as libc::c_char;
    }
    use std::os::fd::AsRawFd as _;
    // SAFETY: the request lives through the call and has the type that the call takes.
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &mut request) };
    if answer != 0 {
        return Frames::Other;
    }
    // SAFETY: the call filled this member of the union.
    match unsafe { request.ifr_ifru.ifru_hwaddr.sa_family } {
        libc::ARPHRD_ETHER => Frames::Ethernet,
        libc::ARPHRD_LOOPBACK => Frames::Loopback,
        _ => Frames::Other,
    }
}

fn ingress(programs: &mut Ebpf, name: &str, mode: XdpMode, outcome: &mut Outcome) {
    let modes: &[(xdp::XdpMode, &str)] = match mode {
        XdpMode::Auto => {
            &[(xdp::XdpMode::Driver, "xdp native"), (xdp::XdpMode::Skb, "xdp generic")]
        }
        XdpMode::Native => &[(xdp::XdpMode::Driver, "xdp native")],
        XdpMode::Generic => &[(xdp::XdpMode::Skb, "xdp generic")],
    };
    let mut refused: Vec<String> = Vec::new();
    for (flags, text) in modes {
        let attached = attach::typed::<Xdp>(programs, INGRESS)
            .and_then(|program| program.attach(name, *flags).map(drop));
        match attached {
            Ok(()) => {
                for why in &refused {
                    outcome.stands_in(why, name);
                }
                outcome.attached(text, name);
                return;
            }
            Err(error) => refused.push(format!("{text}: {}", refusal(&error))),
        }
    }
    outcome.errors.extend(refused.into_iter().map(|why| format!("{name}: {why}")));
}

/// Attaches by a link where the kernel has them (tcx, since 6.6); it goes when the sensor goes,
/// also when it is killed. Before, a filter of the clsact discipline is replaced, so that one that
/// a killed sensor left behind does not count packets into maps that nobody reads.
fn egress(programs: &mut Ebpf, name: &str, outcome: &mut Outcome) {
    let tcx = attach::typed::<SchedClassifier>(programs, EGRESS).and_then(|program| {
        let order = aya::programs::LinkOrder::default();
        let options = tc::TcAttachOptions::TcxOrder(order);
        program.attach_with_options(name, TcAttachType::Egress, options).map(drop)
    });
    if tcx.is_ok() {
        outcome.attached("tcx", name);
        return;
    }
    // Fails when it exists already, which is as good.
    let _exists = tc::qdisc_add_clsact(name);
    let _none = tc::qdisc_detach_program(name, TcAttachType::Egress, EGRESS);
    let clsact = attach::typed::<SchedClassifier>(programs, EGRESS).and_then(|program| {
        let options = tc::TcAttachOptions::Netlink(tc::NlOptions::default());
        program.attach_with_options(name, TcAttachType::Egress, options).map(drop)
    });
    match clsact {
        Ok(()) => {
            outcome.stands_in("tcx: this kernel has none", name);
            outcome.attached("tc clsact", name);
        }
        Err(error) => outcome.errors.push(format!("{name}: {}", attach::sentence(&error))),
    }
}

/// Says in plain words what drivers without XDP answer.
fn refusal(error: &ProgramError) -> String {
    let text = attach::sentence(error);
    if text.contains("os error 95") { "the driver has none".to_owned() } else { text }
}

fn report(name: &'static str, outcome: Outcome, lost: &'static str) -> HookReport {
    let complete = outcome.errors.is_empty() && !outcome.attached.is_empty();
    let mut errors = outcome.errors;
    if errors.is_empty() && outcome.attached.is_empty() {
        errors.push("the namespace has no interface to watch".to_owned());
    }
    HookReport {
        name,
        signal: "flow",
        required: true,
        lost: (!complete).then_some(lost),
        attached: on_interfaces(&outcome.attached),
        stands_in: on_interfaces(&outcome.stands_in),
        error: (!errors.is_empty()).then(|| errors.join("; ")),
    }
}

fn on_interfaces(groups: &BTreeMap<String, Vec<String>>) -> Option<String> {
    let texts: Vec<String> =
        groups.iter().map(|(what, names)| format!("{what} on {}", names.join(", "))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
