//! Blocks of pcapng: sections, interfaces, packets; everything else is passed over.

use std::io::Read;

use super::{BLOCK_MAX, CaptureError, Filled, Frame, Input, Order, SECOND, SECTION};

/// Block types.
const INTERFACE: u32 = 1;
const PACKET_OLD: u32 = 2;
const PACKET_SIMPLE: u32 = 3;
const PACKET: u32 = 6;
/// Reads as itself in a section's own byte order.
const ORDER: u32 = 0x1a2b_3c4d;
/// Interfaces of one section. A file with more is made to fill memory.
const INTERFACES_MAX: usize = 4096;
/// Options of an interface that matter: how finely it tells time, and from when.
const OPTION_END: u16 = 0;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// An interface that frames were captured on.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    per_second: u64,
    offset_s: i64,
    snap: u32,
}

/// The section that is being read.
#[derive(Debug)]
pub(super) struct Sections {
    order: Order,
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before.
    before: u32,
}

impl Default for Sections {
    fn default() -> Self {
        Self { order: Order::Little, interfaces: Vec::new(), before: 0 }
    }
}

impl Sections {
    /// Reads the rest of a section's first block, whose type has been read.
    pub(super) fn begin<R: Read>(
        &mut self,
        input: &mut Input<R>,
        block: &mut Vec<u8>,
    ) -> Result<(), CaptureError> {
        let start = input.offset - 4;
        let mut head = [0; 8];
        input.whole(&mut head, start)?;
        self.order = match (Order::Little.u32(&head, 4), Order::Big.u32(&head, 4)) {
            (Some(ORDER), _) => Order::Little,
            (_, Some(ORDER)) => Order::Big,
            _ => {
                let why = "is a section in no known byte order";
                return Err(CaptureError::Damaged { offset: start, why });
            }
        };
        self.before = self.before.saturating_add(self.interfaces.len() as u32);
        self.interfaces.clear();
        let length = self.order.u32(&head, 0).unwrap_or_default();
        self.rest(input, block, start, length, 12)
    }

    /// Reads what a block of `length` bytes holds behind the first `read` ones, without the length
    /// that ends it.
    fn rest<R: Read>(
        &self,
        input: &mut Input<R>,
        block: &mut Vec<u8>,
        start: u64,
        length: u32,
        read: u32,
    ) -> Result<(), CaptureError> {
        let damaged = |why| Err(CaptureError::Damaged { offset: start, why });
        if !length.is_multiple_of(4) || length < read + 4 {
            return damaged("has an impossible length");
        }
        if length > BLOCK_MAX {
            return damaged("is longer than any block should be");
        }
        block.resize((length - read) as usize, 0);
        input.whole(block, start)?;
        let end = block.len() - 4;
        if self.order.u32(block, end) != Some(length) {
            return damaged("ends with another length than it starts with");
        }
        block.truncate(end);
        Ok(())
    }

    /// Returns the next frame.
    pub(super) fn next<'a, R: Read>(
        &mut self,
        input: &mut Input<R>,
        block: &'a mut Vec<u8>,
    ) -> Result<Option<Frame<'a>>, CaptureError> {
        loop {
            let start = input.offset;
            let mut kind = [0; 4];
            match input.fill(&mut kind, start)? {
                Filled::Nothing => return Ok(None),
                Filled::Part => return Err(CaptureError::Cut { offset: start }),
                Filled::All => {}
            }
            let kind = self.order.u32(&kind, 0).unwrap_or_default();
            if kind == SECTION {
                self.begin(input, block)?;
                continue;
            }
            let mut length = [0; 4];
            input.whole(&mut length, start)?;
            let length = self.order.u32(&length, 0).unwrap_or_default();
            self.rest(input, block, start, length, 8)?;
            let damaged = |why| CaptureError::Damaged { offset: start, why };
            let found = match kind {
                INTERFACE => {
                    let interface = self.interface(block);
                    let interface = interface.ok_or_else(|| damaged("is no whole interface"))?;
                    if self.interfaces.len() >= INTERFACES_MAX {
                        return Err(damaged("is one interface too many"));
                    }
                    self.interfaces.push(interface);
                    continue;
                }
                PACKET => self.packet(block, self.order.u32(block, 0), 4, 20),
                PACKET_OLD => self.packet(block, self.order.u16(block, 0).map(u32::from), 4, 20),
                PACKET_SIMPLE => self.simple(block),
                _ => continue,
            };
            let (place, frame) = found.ok_or_else(|| {
                damaged("is a packet that does not fit its block, or of no known interface")
            })?;
            let Place { from, to } = place;
            return Ok(Some(Frame { bytes: &block[from..to], ..frame }));
        }
    }

    fn interface(&self, block: &[u8]) -> Option<Interface> {
        let (order, mut at) = (self.order, 8);
        let link = u32::from(order.u16(block, 0)?);
        let snap = order.u32(block, 4)?;
        let mut interface = Interface { link, per_second: 1_000_000, offset_s: 0, snap };
        while let (Some(option), Some(length)) = (order.u16(block, at), order.u16(block, at + 2)) {
            let value = block.get(at + 4..at + 4 + usize::from(length))?;
            match (option, value) {
                (OPTION_END, _) => break,
                (OPTION_RESOLUTION, [power]) => interface.per_second = per_second(*power)?,
                (OPTION_OFFSET, value) => {
                    let bytes: [u8; 8] = value.try_into().ok()?;
                    interface.offset_s = match order {
                        Order::Little => i64::from_le_bytes(bytes),
                        Order::Big => i64::from_be_bytes(bytes),
                    };
                }
                _ => {}
            }
            at += 4 + usize::from(length).next_multiple_of(4);
        }
        Some(interface)
    }

    /// Reads a packet whose time starts at `time` and whose bytes start at `data`.
    fn packet(
        &self,
        block: &[u8],
        index: Option<u32>,
        time: usize,
        data: usize,
    ) -> Option<(Place, Frame<'static>)> {
        let index = index?;
        let interface = self.interfaces.get(index as usize)?;
        let number = |at| self.order.u32(block, at);
        let ticks = u64::from(number(time)?) << 32 | u64::from(number(time + 4)?);
        let captured = number(time + 8)?;
        let place = Place::new(block, data, captured)?;
        let frame = Frame {
            time_ns: interface.time(ticks),
            link: interface.link,
            interface: self.before.saturating_add(index).saturating_add(1),
            length: number(time + 12)?.max(captured),
            bytes: &[],
        };
        Some((place, frame))
    }

    /// A simple packet has neither time nor interface: it is the first one's.
    fn simple(&self, block: &[u8]) -> Option<(Place, Frame<'static>)> {
        let interface = self.interfaces.first()?;
        let length = self.order.u32(block, 0)?;
        let most = if interface.snap == 0 { length } else { length.min(interface.snap) };
        let place = Place::new(block, 4, most)?;
        let interface_number = self.before.saturating_add(1);
        let (link, bytes) = (interface.link, &[][..]);
        Some((place, Frame { time_ns: 0, link, interface: interface_number, length, bytes }))
    }
}

/// Where a packet's bytes are in its block.
struct Place {
    from: usize,
    to: usize,
}

impl Place {
    fn new(block: &[u8], from: usize, length: u32) -> Option<Self> {
        let to = from.checked_add(length as usize)?;
        (to <= block.len()).then_some(Self { from, to })
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> u64 {
        let ns = u128::from(ticks) * u128::from(SECOND) / u128::from(self.per_second);
        let ns = i128::try_from(ns).unwrap_or(i128::MAX / 2);
        let offset = i128::from(self.offset_s) * i128::from(SECOND);
        u64::try_from(ns + offset).unwrap_or(0)
    }
}

/// A resolution is a power of ten, or of two when its highest bit is set.
fn per_second(power: u8) -> Option<u64> {
    match power & 0x80 {
        0 => 10_u64.checked_pow(u32::from(power)),
        _ => 2_u64.checked_pow(u32::from(power & 0x7f)),
    }
}
