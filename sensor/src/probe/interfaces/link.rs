//! Messages of rtnetlink about interfaces (pure). The kernel sends them, but their lengths are
//! checked all the same.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Message types and flags (linux/netlink.h, linux/rtnetlink.h).
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_DUMP: u16 = 0x300;
/// Attributes (linux/if_link.h).
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_EXT_MASK: u16 = 29;
const IFLA_INFO_KIND: u16 = 1;
/// Leaves statistics out of the answer.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
/// The lower bits of an attribute's type; the upper ones say how it is stored.
const TYPE_MASK: u16 = 0x3fff;
/// Kinds of link layer (linux/if_arp.h).
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_PPP: u16 = 512;
const ARPHRD_RAWIP: u16 = 519;
const ARPHRD_TUNNEL: u16 = 768;
const ARPHRD_TUNNEL6: u16 = 769;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_SIT: u16 = 776;
const ARPHRD_IPGRE: u16 = 778;
const ARPHRD_IP6GRE: u16 = 823;
const ARPHRD_NONE: u16 = 0xfffe;

/// What an interface's packets start with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Frames {
    #[default]
    Ethernet,
    /// Ethernet frames as well, of the host to itself.
    Loopback,
    /// The IP header.
    Ip,
    Other,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) frames: Frames,
    /// The kind of a virtual interface, such as `veth`; empty for a physical one.
    pub(super) kind: String,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// An interface is there, or has changed.
    There(Link),
    /// An interface is gone.
    Gone(u32),
    /// The answer to a request ends here, with an error number or 0.
    End(i32),
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Interface {
    family: u8,
    reserved: u8,
    layer: u16,
    index: u32,
    flags: u32,
    change: u32,
}

#[repr(C)]
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct AttributeHeader {
    length: u16,
    kind: u16,
}

/// Asks for all interfaces.
#[repr(C)]
#[derive(IntoBytes, Immutable, KnownLayout)]
pub(super) struct Request {
    header: Header,
    interface: Interface,
    attribute: AttributeHeader,
    mask: u32,
}

impl Request {
    pub(super) const fn new() -> Self {
        Self {
            header: Header {
                length: size_of::<Self>() as u32,
                kind: RTM_GETLINK,
                flags: NLM_F_REQUEST | NLM_F_DUMP,
                sequence: 0,
                port: 0,
            },
            interface: Interface {
                family: 0,
                reserved: 0,
                layer: 0,
                index: 0,
                flags: 0,
                change: 0,
            },
            attribute: AttributeHeader { length: 8, kind: IFLA_EXT_MASK },
            mask: RTEXT_FILTER_SKIP_STATS,
        }
    }
}

/// Hands each message of a datagram to `on`; what is cut short or not known is left out.
pub(super) fn messages(mut bytes: &[u8], mut on: impl FnMut(Message)) {
    while let Ok((header, _)) = Header::read_from_prefix(bytes) {
        let length = header.length as usize;
        if length < size_of::<Header>() || length > bytes.len() {
            return;
        }
        let body = &bytes[size_of::<Header>()..length];
        if let Some(message) = message(header.kind, body) {
            on(message);
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
}

fn message(kind: u16, body: &[u8]) -> Option<Message> {
    match kind {
        NLMSG_DONE => Some(Message::End(0)),
        NLMSG_ERROR => i32::read_from_prefix(body).ok().map(|(errno, _)| Message::End(-errno)),
        RTM_DELLINK => {
            let (interface, _) = Interface::read_from_prefix(body).ok()?;
            Some(Message::Gone(interface.index))
        }
        RTM_NEWLINK => {
            let (interface, rest) = Interface::read_from_prefix(body).ok()?;
            let mut link =
                Link { index: interface.index, frames: frames(interface.layer), ..Link::default() };
            attributes(rest, |kind, value| match kind {
                IFLA_IFNAME => link.name = text(value),
                IFLA_LINKINFO => attributes(value, |kind, value| {
                    if kind == IFLA_INFO_KIND {
                        link.kind = text(value);
                    }
                }),
                _ => {}
            });
            (!link.name.is_empty()).then_some(Message::There(link))
        }
        _ => None,
    }
}

fn attributes(mut bytes: &[u8], mut on: impl FnMut(u16, &[u8])) {
    while let Ok((header, _)) = AttributeHeader::read_from_prefix(bytes) {
        let length = usize::from(header.length);
        if length < size_of::<AttributeHeader>() || length > bytes.len() {
            return;
        }
        on(header.kind & TYPE_MASK, &bytes[size_of::<AttributeHeader>()..length]);
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

const fn frames(layer: u16) -> Frames {
    match layer {
        ARPHRD_ETHER => Frames::Ethernet,
        ARPHRD_LOOPBACK => Frames::Loopback,
        ARPHRD_NONE | ARPHRD_PPP | ARPHRD_RAWIP | ARPHRD_TUNNEL | ARPHRD_TUNNEL6 | ARPHRD_SIT
        | ARPHRD_IPGRE | ARPHRD_IP6GRE => Frames::Ip,
        _ => Frames::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let header = AttributeHeader { length: 4 + value.len() as u16, kind };
        let mut bytes = [header.as_bytes(), value].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn packed(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = (size_of::<Header>() + body.len()) as u32;
        let header = Header { length, kind, flags: 0, sequence: 0, port: 0 };
        let mut bytes = [header.as_bytes(), body].concat();
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn interface(index: u32, layer: u16) -> Vec<u8> {
        let interface = Interface { family: 0, reserved: 0, layer, index, flags: 0, change: 0 };
        interface.as_bytes().to_vec()
    }

    fn read(bytes: &[u8]) -> Vec<Message> {
        let mut all = Vec::new();
        messages(bytes, |message| all.push(message));
        all
    }

    #[test]
    fn interfaces_come_and_go() {
        let kind = attribute(IFLA_INFO_KIND, b"veth\0");
        let new = [
            interface(7, ARPHRD_ETHER),
            attribute(4, &[0; 4]),
            attribute(IFLA_IFNAME, b"eth0\0"),
            attribute(IFLA_LINKINFO | 0x8000, &kind),
        ]
        .concat();
        let bytes = [
            packed(RTM_NEWLINK, &new),
            packed(RTM_DELLINK, &interface(9, ARPHRD_ETHER)),
            packed(NLMSG_DONE, &[0; 4]),
        ]
        .concat();
        let link = Link {
            index: 7,
            name: "eth0".to_owned(),
            frames: Frames::Ethernet,
            kind: "veth".to_owned(),
        };
        assert_eq!(read(&bytes), [Message::There(link), Message::Gone(9), Message::End(0)]);
    }

    #[test]
    fn a_refusal_tells_its_number() {
        let refused = packed(NLMSG_ERROR, &(-13_i32).to_ne_bytes());
        assert_eq!(read(&refused), [Message::End(13)]);
    }

    #[test]
    fn the_request_is_as_long_as_it_says() {
        let request = Request::new();
        assert_eq!(request.as_bytes().len(), 40);
        assert_eq!(request.as_bytes()[..4], 40_u32.to_ne_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes);
        }

        #[test]
        fn any_attributes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let message = packed(RTM_NEWLINK, &[interface(1, 1), bytes].concat());
            prop_assert!(read(&message).len() <= 1);
        }

        #[test]
        fn cutting_a_message_never_invents_one(cut in 0usize..64) {
            let new = [interface(7, 1), attribute(IFLA_IFNAME, b"eth0\0")].concat();
            let whole = packed(RTM_NEWLINK, &new);
            let part = read(&whole[..cut.min(whole.len())]);
            prop_assert!(part.is_empty() || cut >= whole.len());
        }
    }
}
