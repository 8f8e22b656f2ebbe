//! DNS messages (RFC 1035), as far as a watcher needs them: header, first question, answers.
//!
//! Total and bounded: any bytes give a message or a [`Problem`]. A compression pointer may only
//! lead backwards, to before everything read of the name so far, so a name ends after at most
//! [`NAME_MAX`] bytes whatever the pointers say. Bytes of labels stay as they are.

mod answer;
mod name;

pub use self::{
    answer::{Answer, Answers, Data, Texts},
    name::{NAME_MAX, Name},
};

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 12;
/// Answers that are read of one message. A datagram without EDNS holds at most 31 addresses.
pub const ANSWERS_MAX: usize = 32;

/// Values of a record's type.
pub mod kind {
    /// IPv4 address.
    pub const A: u16 = 1;
    /// Name server of a zone.
    pub const NS: u16 = 2;
    /// Another name's canonical form.
    pub const CNAME: u16 = 5;
    /// Start of a zone of authority.
    pub const SOA: u16 = 6;
    /// Name of an address.
    pub const PTR: u16 = 12;
    /// Mail exchange.
    pub const MX: u16 = 15;
    /// Text.
    pub const TXT: u16 = 16;
    /// IPv6 address.
    pub const AAAA: u16 = 28;
    /// Service.
    pub const SRV: u16 = 33;
    /// Canonical form of a whole subtree.
    pub const DNAME: u16 = 39;
    /// EDNS0's pseudo record.
    pub const OPT: u16 = 41;
    /// Service binding.
    pub const SVCB: u16 = 64;
    /// Service binding for HTTPS.
    pub const HTTPS: u16 = 65;
}

/// Bits of the header's flags.
pub mod flag {
    /// A response, not a query.
    pub const RESPONSE: u16 = 1 << 15;
    /// The responder is an authority for the name.
    pub const AUTHORITATIVE: u16 = 1 << 10;
    /// The message was cut to fit its transport.
    pub const TRUNCATED: u16 = 1 << 9;
    /// The resolver shall follow the chain to its end.
    pub const RECURSION_DESIRED: u16 = 1 << 8;
    /// The responder does so.
    pub const RECURSION_AVAILABLE: u16 = 1 << 7;
    /// Where the response code is.
    pub const RCODE: u16 = 0x000f;
    /// Where the kind of query is.
    pub const OPCODE: u16 = 0x7800;
}

/// Why bytes are no message, or no more of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The bytes end before the message does.
    Truncated,
    /// A name is longer than names may be, has a label of unknown form, or a pointer that does not
    /// lead backwards.
    BadName,
    /// A record's data contradicts its type.
    BadData,
}

/// The fixed header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Joins query and response.
    pub id: u16,
    /// See [`flag`].
    pub flags: u16,
    /// Entries of the question section.
    pub questions: u16,
    /// Entries of the answer section.
    pub answers: u16,
    /// Entries of the authority section.
    pub authorities: u16,
    /// Entries of the additional section.
    pub additionals: u16,
}

impl Header {
    /// Reads the header at the start of a message. Of one that was captured in part there may be
    /// id and flags only; then it counts nothing.
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let (id, flags) = (be16(bytes, 0)?, be16(bytes, 2)?);
        let begun = Self { id, flags, ..Self::default() };
        Ok(match (be16(bytes, 4), be16(bytes, 6), be16(bytes, 8), be16(bytes, 10)) {
            (Ok(questions), Ok(answers), Ok(authorities), Ok(additionals)) => {
                Self { questions, answers, authorities, additionals, ..begun }
            }
            _ => begun,
        })
    }

    /// Returns whether this is a response.
    pub const fn is_response(&self) -> bool {
        self.flags & flag::RESPONSE != 0
    }

    /// Returns the response code, without the bits that EDNS0 adds.
    pub const fn rcode(&self) -> u8 {
        (self.flags & flag::RCODE) as u8
    }

    /// Returns the kind of query; 0 is an ordinary one.
    pub const fn opcode(&self) -> u8 {
        ((self.flags & flag::OPCODE) >> 11) as u8
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: Name,
    /// The wanted type, see [`kind`].
    pub kind: u16,
    /// The class, 1 for the Internet.
    pub class: u16,
}

/// A message whose header and first question could be read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    answers_at: Result<usize, Problem>,
    /// The fixed header.
    pub header: Header,
    /// The first question; there is hardly ever more than one.
    pub question: Option<Question>,
}

impl<'a> Message<'a> {
    /// Reads the header and the questions.
    ///
    /// A message without a question is well-formed. With an unreadable one it is not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        if bytes.len() < HEADER_LEN {
            return Err(Problem::Truncated);
        }
        let header = Header::read(bytes)?;
        let mut message = Self { bytes, answers_at: Ok(HEADER_LEN), header, question: None };
        if header.questions == 0 {
            return Ok(message);
        }
        let (question, mut at) = question(bytes, HEADER_LEN)?;
        message.question = Some(question);
        // The other questions are only passed over; each takes five bytes or more.
        for _ in 1..header.questions {
            match self::question(bytes, at) {
                Ok((_, after)) => at = after,
                Err(problem) => {
                    message.answers_at = Err(problem);
                    return Ok(message);
                }
            }
        }
        message.answers_at = Ok(at);
        Ok(message)
    }

    /// Returns the answers, at most [`ANSWERS_MAX`] of them. An answer that cannot be read is the
    /// last one.
    pub fn answers(&self) -> Answers<'a> {
        Answers::new(self.bytes, self.answers_at, self.header.answers)
    }
}

/// A message within a TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The first message, without its length prefix, as much of it as is there.
    pub message: &'a [u8],
    /// Whether the message goes on in another segment.
    pub cut: bool,
    /// Whether other messages follow in this segment.
    pub more: bool,
}

/// Takes the first message out of the payload of a TCP segment (RFC 1035, section 4.2.2); `None`
/// when it is too short to begin one.
pub fn framed(payload: &[u8]) -> Option<Framed<'_>> {
    let (prefix, rest) = payload.split_at_checked(2)?;
    let length = usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
    if length < HEADER_LEN || rest.len() < HEADER_LEN {
        return None;
    }
    let message = &rest[..length.min(rest.len())];
    Some(Framed { message, cut: length > rest.len(), more: rest.len() > length })
}

fn question(bytes: &[u8], at: usize) -> Result<(Question, usize), Problem> {
    let (name, at) = Name::read(bytes, at)?;
    Ok((Question { name, kind: be16(bytes, at)?, class: be16(bytes, at + 2)? }, at + 4))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Problem> {
    let found = at.checked_add(N).and_then(|end| bytes.get(at..end));
    found.and_then(|found| found.try_into().ok()).ok_or(Problem::Truncated)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Problem> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn be32(bytes: &[u8], at: usize) -> Result<u32, Problem> {
    array(bytes, at).map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
