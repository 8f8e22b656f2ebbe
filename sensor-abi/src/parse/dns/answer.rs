//! Resource records of the answer section.

use super::{ANSWERS_MAX, Name, Problem, array, be16, be32, kind};

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Whose record it is.
    pub name: Name,
    /// Its type, see [`kind`].
    pub kind: u16,
    /// Its class, 1 for the Internet.
    pub class: u16,
    /// For how many seconds it may be kept.
    pub ttl: u32,
    /// What it says.
    pub data: Data<'a>,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// An IPv4 address.
    A([u8; 4]),
    /// An IPv6 address.
    Aaaa([u8; 16]),
    /// The name that a CNAME, DNAME, NS or PTR record leads to.
    Name(Name),
    /// A mail exchange.
    Mx {
        /// Lower is tried first.
        preference: u16,
        /// The host.
        exchange: Name,
    },
    /// A service.
    Srv {
        /// Lower is tried first.
        priority: u16,
        /// Share among those of one priority.
        weight: u16,
        /// Where it listens.
        port: u16,
        /// The host.
        target: Name,
    },
    /// A service binding (SVCB and HTTPS).
    Service {
        /// Lower is tried first; 0 only names another name.
        priority: u16,
        /// The host, the root for the record's own name.
        target: Name,
        /// Its parameters as they are on the wire.
        parameters: &'a [u8],
    },
    /// Text.
    Txt(Texts<'a>),
    /// A type that is not looked into.
    Other(&'a [u8]),
}

/// The strings of a TXT record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts<'a>(&'a [u8]);

impl<'a> Texts<'a> {
    fn new(data: &'a [u8]) -> Result<Self, Problem> {
        let mut rest = data;
        while let Some((length, after)) = rest.split_first() {
            rest = after.get(usize::from(*length)..).ok_or(Problem::BadData)?;
        }
        Ok(Self(data))
    }

    /// Returns the strings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (length, after) = rest.split_first()?;
            let (text, after) = after.split_at_checked(usize::from(*length))?;
            rest = after;
            Some(text)
        })
    }
}

/// The answers of a message.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    message: &'a [u8],
    at: Result<usize, Problem>,
    left: usize,
}

impl<'a> Answers<'a> {
    pub(super) fn new(message: &'a [u8], at: Result<usize, Problem>, count: u16) -> Self {
        Self { message, at, left: usize::from(count).min(ANSWERS_MAX) }
    }
}

impl<'a> Iterator for Answers<'a> {
    type Item = Result<Answer<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let read = self.at.and_then(|at| answer(self.message, at));
        Some(match read {
            Ok((answer, after)) => {
                self.at = Ok(after);
                Ok(answer)
            }
            Err(problem) => {
                self.left = 0;
                Err(problem)
            }
        })
    }
}

fn answer(message: &[u8], at: usize) -> Result<(Answer<'_>, usize), Problem> {
    let (name, at) = Name::read(message, at)?;
    let (kind, class) = (be16(message, at)?, be16(message, at + 2)?);
    let ttl = be32(message, at + 4)?;
    let start = at + 10;
    let end = start + usize::from(be16(message, at + 8)?);
    // A name inside the data may point to anywhere before it, but its own bytes end with the data.
    let within = message.get(..end).ok_or(Problem::Truncated)?;
    let data = data(kind, within, start)?;
    Ok((Answer { name, kind, class, ttl, data }, end))
}

/// Reads a record's data, which goes from `start` to the end of `message`.
fn data(kind: u16, message: &[u8], start: usize) -> Result<Data<'_>, Problem> {
    let raw = &message[start..];
    let bad = |_| Problem::BadData;
    Ok(match kind {
        kind::A => Data::A(raw.try_into().map_err(|_| Problem::BadData)?),
        kind::AAAA => Data::Aaaa(raw.try_into().map_err(|_| Problem::BadData)?),
        kind::CNAME | kind::DNAME | kind::NS | kind::PTR => Data::Name(name(message, start)?.0),
        kind::MX => Data::Mx {
            preference: be16(message, start).map_err(bad)?,
            exchange: name(message, start + 2)?.0,
        },
        kind::SRV => {
            let [p0, p1, w0, w1, port0, port1] = array(message, start).map_err(bad)?;
            Data::Srv {
                priority: u16::from_be_bytes([p0, p1]),
                weight: u16::from_be_bytes([w0, w1]),
                port: u16::from_be_bytes([port0, port1]),
                target: name(message, start + 6)?.0,
            }
        }
        kind::SVCB | kind::HTTPS => {
            let (target, parameters) = name(message, start + 2)?;
            let priority = be16(message, start).map_err(bad)?;
            Data::Service { priority, target, parameters: &message[parameters..] }
        }
        kind::TXT => Data::Txt(Texts::new(raw)?),
        _ => Data::Other(raw),
    })
}

fn name(message: &[u8], at: usize) -> Result<(Name, usize), Problem> {
    Name::read(message, at).map_err(|problem| match problem {
        Problem::Truncated => Problem::BadData,
        other => other,
    })
}
