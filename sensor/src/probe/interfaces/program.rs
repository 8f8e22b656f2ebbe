//! Attaches the packet programs to one interface, by the first way that works.

use aya::{
    Ebpf,
    programs::{
        LinkOrder, ProgramError, ProgramInfo, SchedClassifier, TcAttachType, Xdp,
        tc::{self, SchedClassifierLinkId},
        xdp::{self, XdpLinkId},
    },
};

use tracing::debug;

use super::{
    super::{XdpMode, attach},
    link::{Frames, Link},
    netlink,
    report::State,
};

const XDP: &str = "flow_ingress";
/// Kinds of virtual interface whose counters are those of physical ones below.
const KINDS_OF_PHYSICAL: [&str; 2] = ["bond", "team"];
/// Drivers of virtual machines that hand aggregates to the host, and count them as one packet.
const DRIVERS_OF_AGGREGATES: [&str; 5] = ["virtio_net", "vif", "tun", "veth", "bridge"];

/// A link, of whichever kind.
#[derive(Debug)]
pub(super) enum Attached {
    Xdp(XdpLinkId),
    Tc(&'static str, SchedClassifierLinkId),
}

/// One program on one interface.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) link: Option<Attached>,
    pub(super) state: State,
}

/// What is attached to one interface.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) link: Link,
    pub(super) ingress: Side,
    pub(super) egress: Side,
}

/// How interfaces are attached to.
#[derive(Debug)]
pub(super) struct Attacher {
    pub(super) mode: XdpMode,
    /// Whether programs that another sensor has attached by the old way are left alone.
    pub(super) beside: bool,
}

impl Attacher {
    pub(super) const fn new(mode: XdpMode, beside: bool) -> Self {
        Self { mode, beside }
    }

    /// Loads what [`Self::attach`] is likely to attach; the calling thread is in the interface's
    /// namespace.
    pub(super) fn load_ahead(programs: &mut Ebpf, link: &Link) {
        let variant = Variant::of(link);
        let arrival = match link.frames {
            // No driver has its own way there.
            Frames::Loopback | Frames::Ip => loaded_classifier(programs, variant.ingress()).err(),
            _ => loaded_xdp(programs).err(),
        };
        // Why one is refused is said when it is attached.
        let _refused = (arrival, loaded_classifier(programs, variant.egress()).err());
    }

    /// Attaches both programs; the calling thread is in the interface's namespace.
    pub(super) fn attach(&self, programs: &mut Ebpf, link: &Link) -> Interface {
        let variant = Variant::of(link);
        Interface {
            ingress: self.ingress(programs, link, variant),
            egress: self.classifier(programs, link, TcAttachType::Egress, variant.egress()),
            link: link.clone(),
        }
    }

    /// XDP first, since it costs least and sees all that the interface counts. Where the driver has
    /// none, or another program holds it, a classifier stands in; XDP in the stack only when it is
    /// asked for, because it copies packets and switches their aggregation off.
    fn ingress(&self, programs: &mut Ebpf, link: &Link, variant: Variant) -> Side {
        let mut refused = Vec::new();
        let (flags, text) = match self.mode {
            XdpMode::Auto | XdpMode::Native => (xdp::XdpMode::Driver, "xdp native"),
            XdpMode::Generic => (xdp::XdpMode::Skb, "xdp generic"),
        };
        if variant == Variant::Ip {
            refused.push(format!("{text}: it has no Ethernet frames"));
        } else {
            match Self::xdp(programs, link, flags) {
                Ok(id) => {
                    let state = State { how: Some(text), why: Vec::new() };
                    return Side { link: Some(Attached::Xdp(id)), state };
                }
                Err(error) => refused.push(format!("{text}: {}", refusal(&error))),
            }
        }
        let mut side = self.classifier(programs, link, TcAttachType::Ingress, variant.ingress());
        refused.append(&mut side.state.why);
        side.state.why = refused;
        side
    }

    fn xdp(
        programs: &mut Ebpf,
        link: &Link,
        mode: xdp::XdpMode,
    ) -> Result<XdpLinkId, ProgramError> {
        loaded_xdp(programs)?.attach_to_if_index(link.index, mode)
    }

    /// Attaches by a link where the kernel has them (tcx, since 6.6); it goes when the sensor goes,
    /// also when it is killed. Before, a filter of the clsact discipline is replaced, so that one
    /// that a killed sensor left behind does not count packets into maps that nobody reads.
    fn classifier(
        &self,
        programs: &mut Ebpf,
        link: &Link,
        side: TcAttachType,
        name: &'static str,
    ) -> Side {
        let order = tc::TcAttachOptions::TcxOrder(LinkOrder::default());
        let refused = match Self::tc(programs, link, side, name, order) {
            Ok(id) => {
                let state = State { how: Some("tcx"), why: Vec::new() };
                return Side { link: Some(Attached::Tc(name, id)), state };
            }
            Err(error) => error,
        };
        // Fails when it exists already, which is as good.
        let _exists = tc::qdisc_add_clsact(&link.name);
        if !self.beside {
            for left in Variant::ALL.map(|v| v.name(side)) {
                let _none = tc::qdisc_detach_program(&link.name, side, left);
            }
        }
        let clsact = tc::TcAttachOptions::Netlink(tc::NlOptions::default());
        match Self::tc(programs, link, side, name, clsact) {
            Ok(id) => {
                let why = vec!["tcx: this kernel has none".to_owned()];
                let state = State { how: Some("tc clsact"), why };
                Side { link: Some(Attached::Tc(name, id)), state }
            }
            Err(error) => {
                let refused = [&refused, &error].map(|error| attach::sentence(error));
                let why = format!("tcx: {}; tc clsact: {}", refused[0], refused[1]);
                Side { link: None, state: State { how: None, why: vec![why] } }
            }
        }
    }

    fn tc(
        programs: &mut Ebpf,
        link: &Link,
        side: TcAttachType,
        name: &'static str,
        options: tc::TcAttachOptions,
    ) -> Result<SchedClassifierLinkId, ProgramError> {
        loaded_classifier(programs, name)?.attach_with_options(&link.name, side, options)
    }
}

fn loaded_xdp(programs: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    let program = attach::typed::<Xdp>(programs, XDP)?;
    if program.fd().is_err() {
        program.load()?;
        verified(XDP, program.info());
    }
    Ok(program)
}

fn loaded_classifier<'a>(
    programs: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    let program = attach::typed::<SchedClassifier>(programs, name)?;
    if program.fd().is_err() {
        program.load()?;
        verified(name, program.info());
    }
    Ok(program)
}

fn verified(program: &str, info: Result<ProgramInfo, ProgramError>) {
    let instructions = info.ok().and_then(|info| info.verified_instruction_count());
    debug!(program, instructions, "the verifier took a program");
}

/// Detaches what is attached; fails where the interface is gone, which is as good.
pub(super) fn detach(programs: &mut Ebpf, attached: Attached) {
    let _gone = match attached {
        Attached::Xdp(id) => {
            attach::typed::<Xdp>(programs, XDP).and_then(|program| program.detach(id))
        }
        Attached::Tc(name, id) => {
            attach::typed::<SchedClassifier>(programs, name).and_then(|program| program.detach(id))
        }
    };
}

/// Which of the classifiers adds up what the interface adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    /// A buffer is a packet.
    Buffers,
    /// An aggregate is as many packets as there are on the wire.
    Wire,
    /// A buffer is a packet, and starts with the IP header.
    Ip,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Buffers, Self::Wire, Self::Ip];

    /// A physical interface, or one that shows the counters of such, counts what is on the wire; a
    /// virtual one counts the buffers that it hands on.
    fn of(link: &Link) -> Self {
        let of_aggregates = |driver: &str| DRIVERS_OF_AGGREGATES.contains(&driver);
        match (link.frames, link.kind.as_str()) {
            (Frames::Ip, _) => Self::Ip,
            (Frames::Loopback, _) => Self::Buffers,
            (_, "") if of_aggregates(&netlink::driver(&link.name)) => Self::Buffers,
            (_, "") => Self::Wire,
            (_, kind) if KINDS_OF_PHYSICAL.contains(&kind) => Self::Wire,
            _ => Self::Buffers,
        }
    }

    const fn ingress(self) -> &'static str {
        match self {
            Self::Buffers => "flow_arrival",
            Self::Wire => "flow_arrival_wire",
            Self::Ip => "flow_arrival_ip",
        }
    }

    const fn egress(self) -> &'static str {
        match self {
            Self::Buffers => "flow_egress",
            Self::Wire => "flow_egress_wire",
            Self::Ip => "flow_egress_ip",
        }
    }

    const fn name(self, side: TcAttachType) -> &'static str {
        match side {
            TcAttachType::Egress => self.egress(),
            _ => self.ingress(),
        }
    }
}

/// Says in plain words what drivers without XDP answer, and those whose XDP is taken.
fn refusal(error: &ProgramError) -> String {
    let text = attach::sentence(error);
    match text {
        text if text.contains("os error 95") => "the driver has none".to_owned(),
        text if text.contains("os error 16") => "another program holds it".to_owned(),
        text => text,
    }
}
