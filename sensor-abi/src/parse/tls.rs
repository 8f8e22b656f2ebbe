//! The first message of a TLS client (RFC 8446, section 4.1.2), in one segment.
//!
//! Total and bounded: every list is a view of the bytes and is walked no further than they go. A
//! message that goes on in another segment or record gives what is there, marked as cut.

/// Content type of a handshake record.
const HANDSHAKE: u8 = 0x16;
/// Handshake type of a `ClientHello`.
const CLIENT_HELLO: u8 = 0x01;
/// Record header (5) and handshake header (4).
const HEADERS_LEN: usize = 9;
/// Version and random.
const FIXED_LEN: usize = 2 + 32;
/// Bytes that show a segment to start a `ClientHello`.
pub const PREFIX_LEN: usize = 6;

/// Numbers of extensions.
pub mod extension {
    /// Name of the wanted server.
    pub const SERVER_NAME: u16 = 0;
    /// Signature algorithms that the client can check.
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    /// Application protocols.
    pub const ALPN: u16 = 16;
    /// Versions that the client speaks.
    pub const SUPPORTED_VERSIONS: u16 = 43;
    /// The true `ClientHello` is encrypted; the visible name is another's.
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// Returns whether a segment that starts with these bytes starts a `ClientHello`.
#[inline(always)]
pub const fn starts(prefix: [u8; PREFIX_LEN]) -> bool {
    prefix[0] == HANDSHAKE && prefix[1] == 3 && prefix[5] == CLIENT_HELLO
}

/// Returns whether a value is one of those that clients throw in to keep servers tolerant (GREASE,
/// RFC 8701).
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// A list of 16-bit numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    /// Returns the numbers in their order; half a number at the end is left out.
    pub fn iter(&self) -> impl Iterator<Item = u16> + use<'_> {
        self.0.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }
}

/// One extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its number, see [`extension`].
    pub number: u16,
    /// What it holds, as much of it as is there.
    pub data: &'a [u8],
}

/// The extensions in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions<'a>(&'a [u8]);

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader(self.0);
        let number = reader.be16()?;
        let length = usize::from(reader.be16()?);
        let data = reader.up_to(length);
        self.0 = reader.0;
        Some(Extension { number, data })
    }
}

/// A client's first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The version of the message itself, which newer clients keep at TLS 1.2 (`0x0303`).
    pub version: u16,
    /// Cipher suites in the client's order.
    pub ciphers: Numbers<'a>,
    /// Extensions in the client's order.
    pub extensions: Extensions<'a>,
    /// Whether the message goes on elsewhere, so that lists may be shorter than sent.
    pub cut: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the payload of a segment; `None` when it does not start a `ClientHello`, or ends
    /// before its ciphers begin.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let prefix: [u8; PREFIX_LEN] = payload.first_chunk().copied()?;
        if !starts(prefix) {
            return None;
        }
        let record = usize::from(u16::from_be_bytes([prefix[3], prefix[4]]));
        let mut reader = Reader(payload.get(HEADERS_LEN..)?);
        let [high, middle, low]: [u8; 3] = payload.get(6..9)?.try_into().ok()?;
        let message = u32::from_be_bytes([0, high, middle, low]) as usize;
        // What the record holds of the message; a long message goes on in another record.
        let held = record.saturating_sub(4).min(message);
        let cut = held < message || reader.0.len() < message;
        reader = Reader(reader.up_to(held));
        let version = reader.be16()?;
        reader.up_to(FIXED_LEN - 2);
        let session = reader.byte()?;
        reader.up_to(usize::from(session));
        let ciphers = reader.be16()?;
        let mut hello = Self { version, cut, ..Self::default() };
        hello.ciphers = Numbers(reader.up_to(usize::from(ciphers)));
        // From here on a message may end: old clients have no extensions.
        if let Some(methods) = reader.byte() {
            reader.up_to(usize::from(methods));
            let length = reader.be16().unwrap_or(0);
            hello.extensions = Extensions(reader.up_to(usize::from(length)));
        }
        Some(hello)
    }

    /// Returns what the first extension of that number holds.
    pub fn extension(&self, number: u16) -> Option<&'a [u8]> {
        self.extensions.into_iter().find(|each| each.number == number).map(|each| each.data)
    }

    /// Returns the name of the wanted server (SNI); its first host name, when it is whole.
    pub fn server_name(&self) -> Option<&'a [u8]> {
        let mut reader = Reader(self.extension(extension::SERVER_NAME)?);
        let length = usize::from(reader.be16()?);
        let mut list = Reader(reader.up_to(length));
        loop {
            let kind = list.byte()?;
            let length = usize::from(list.be16()?);
            let name = list.exactly(length)?;
            if kind == 0 {
                return Some(name);
            }
        }
    }

    /// Returns the application protocols in the client's order.
    pub fn protocols(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader(self.extension(extension::ALPN).unwrap_or_default());
        let length = usize::from(reader.be16().unwrap_or(0));
        let mut list = Reader(reader.up_to(length));
        core::iter::from_fn(move || {
            let length = usize::from(list.byte()?);
            list.exactly(length)
        })
    }

    /// Returns the signature algorithms in the client's order.
    pub fn signature_algorithms(&self) -> Numbers<'a> {
        let data = self.extension(extension::SIGNATURE_ALGORITHMS).unwrap_or_default();
        let mut reader = Reader(data);
        let length = usize::from(reader.be16().unwrap_or(0));
        Numbers(reader.up_to(length))
    }

    /// Returns the newest version that the client speaks, by number, GREASE apart.
    pub fn newest_version(&self) -> u16 {
        let Some(data) = self.extension(extension::SUPPORTED_VERSIONS) else {
            return self.version;
        };
        let mut reader = Reader(data);
        let length = usize::from(reader.byte().unwrap_or(0));
        let versions = Numbers(reader.up_to(length));
        let newest = versions.iter().filter(|version| !is_grease(*version)).max();
        newest.unwrap_or(self.version)
    }
}

/// Bytes that are taken from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn be16(&mut self) -> Option<u16> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*first))
    }

    fn exactly(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes so many bytes, or all that there are.
    fn up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

#[cfg(test)]
mod tests;
