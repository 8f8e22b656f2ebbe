//! Frames of every link layer → Ethernet frames, which is what the parser reads. Pure.

use sensor_abi::parse::headers::Way;

/// Bytes of an Ethernet header without tags.
const HEADER_LEN: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Values of Linux's `sll_pkttype` that tell which way a frame went.
const TO_US: u16 = 0;
const FROM_US: u16 = 4;

/// Numbers of link layers.
mod link {
    pub const NULL: u32 = 0;
    pub const ETHERNET: u32 = 1;
    pub const RAW_OLD: [u32; 2] = [12, 14];
    pub const RAW: u32 = 101;
    pub const CISCO_HDLC: u32 = 104;
    pub const LOOP: u32 = 108;
    pub const LINUX_SLL: u32 = 113;
    pub const IPV4: u32 = 228;
    pub const IPV6: u32 = 229;
    pub const LINUX_SLL2: u32 = 276;
}

/// What a frame is without its own link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Bytes of the link layer, which are not part of the packet.
    pub skipped: usize,
    /// What the packet is; `None` when the link layer is not known or does not say.
    pub ethertype: Option<u16>,
    /// Which way it went, where the link layer says.
    pub way: Option<Way>,
}

/// Reads the link layer; `None` for Ethernet, which needs no change.
pub fn inner(number: u32, bytes: &[u8]) -> Option<Inner> {
    let be16 = |at: usize| bytes.get(at..).and_then(|rest| rest.first_chunk().copied());
    let be16 = |at| be16(at).map(u16::from_be_bytes);
    let plain = |skipped, ethertype| Some(Inner { skipped, ethertype, way: None });
    match number {
        link::ETHERNET => None,
        link::NULL | link::LOOP => plain(4, bytes.first_chunk().and_then(family)),
        link::RAW => plain(0, version(bytes)),
        old if link::RAW_OLD.contains(&old) => plain(0, version(bytes)),
        link::IPV4 => plain(0, Some(IPV4)),
        link::IPV6 => plain(0, Some(IPV6)),
        link::CISCO_HDLC => plain(4, be16(2)),
        link::LINUX_SLL => {
            Some(Inner { skipped: 16, ethertype: be16(14), way: be16(0).and_then(way) })
        }
        link::LINUX_SLL2 => {
            let kind = bytes.get(10).map(|kind| u16::from(*kind));
            Some(Inner { skipped: 20, ethertype: be16(0), way: kind.and_then(way) })
        }
        _ => plain(0, None),
    }
}

/// Puts an Ethernet header before the packet; one of a type that nobody uses when it is not known.
pub fn as_ethernet(inner: Inner, bytes: &[u8], frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(HEADER_LEN - 2, 0);
    frame.extend(inner.ethertype.unwrap_or(0).to_be_bytes());
    frame.extend(bytes.get(inner.skipped..).unwrap_or_default());
}

/// Returns how long a frame of that length is with an Ethernet header instead of its own.
pub fn ethernet_length(inner: Inner, length: u32) -> u64 {
    (u64::from(length) + HEADER_LEN as u64).saturating_sub(inner.skipped as u64)
}

/// The address family is a number of the system that captured, in either byte order.
fn family(bytes: &[u8; 4]) -> Option<u16> {
    let (little, big) = (u32::from_le_bytes(*bytes), u32::from_be_bytes(*bytes));
    match little.min(big) {
        2 => Some(IPV4),
        10 | 24 | 28 | 30 => Some(IPV6),
        _ => None,
    }
}

fn version(bytes: &[u8]) -> Option<u16> {
    match bytes.first()? >> 4 {
        4 => Some(IPV4),
        6 => Some(IPV6),
        _ => None,
    }
}

fn way(kind: u16) -> Option<Way> {
    match kind {
        TO_US => Some(Way::Ingress),
        FROM_US => Some(Way::Egress),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 3] = [0x45, 1, 2];

    fn converted(number: u32, header: &[u8]) -> (Vec<u8>, u64, Option<Way>) {
        let bytes = [header, &PACKET].concat();
        let inner = inner(number, &bytes).expect("it is not Ethernet");
        let mut frame = Vec::new();
        as_ethernet(inner, &bytes, &mut frame);
        (frame, ethernet_length(inner, bytes.len() as u32), inner.way)
    }

    #[test]
    fn every_link_layer_leads_to_the_packet() {
        let sll = |kind| [&[0, kind][..], &[0; 12], &[8, 0]].concat();
        let sll2 = [&[8, 0][..], &[0; 8], &[4], &[0; 9]].concat();
        let cases = [
            (0, vec![2, 0, 0, 0], None),
            (108, vec![0, 0, 0, 2], None),
            (101, vec![], None),
            (12, vec![], None),
            (228, vec![], None),
            (104, vec![0x0f, 0, 8, 0], None),
            (113, sll(0), Some(Way::Ingress)),
            (113, sll(4), Some(Way::Egress)),
            (113, sll(1), None),
            (276, sll2, Some(Way::Egress)),
        ];
        for (number, header, way) in cases {
            let (frame, length, found) = converted(number, &header);
            assert_eq!(&frame[12..], [&[8, 0][..], &PACKET].concat(), "link layer {number}");
            assert_eq!((length, found), (frame.len() as u64, way), "link layer {number}");
        }
        assert_eq!(inner(1, &PACKET), None);
    }

    #[test]
    fn short_and_unknown_frames_are_packets_of_no_type() {
        for number in [0, 10, 101, 113, 276, 999] {
            let inner = inner(number, &[]).expect("it is not Ethernet");
            let mut frame = Vec::new();
            as_ethernet(inner, &[], &mut frame);
            assert_eq!(frame, [0; HEADER_LEN], "link layer {number}");
        }
    }
}
