//! Threat intelligence: addresses, names and files that others have seen do harm, compiled for
//! lookup.
//!
//! A feed is a plain list: an address, an address with port, a CIDR block, a domain name or a
//! SHA-256 a line, a comment behind `;`, `#` or a tab. What a listed value means is its category,
//! which the feed's file is called by: `tor.txt`, `c2-mine.txt`. Feeds come from outside and are
//! sometimes wrong, and one line such as `0.0.0.0/0` would turn all traffic into findings. So each
//! line is checked against [`guard`], and a line that fails is named, not used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::{PolicyError, PolicyFile, Problem};
use crate::record::address_bits;
use crate::text;

mod category;
pub(crate) mod guard;

pub use category::Category;

/// Indicators of all feeds together; each takes some 100 bytes.
const INDICATORS_MAX: usize = 1_000_000;

/// Bad lines that are named per feed; the rest is a number. A feed in a foreign format would
/// otherwise produce an error for each line.
const ERRORS_NAMED_MAX: usize = 20;

/// Bytes of a comment that is kept.
const COMMENT_MAX: usize = 200;

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

/// A value that a feed lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// What it stands for.
    pub category: Category,
    /// The value as the feed wrote it.
    pub value: String,
    /// Feed file.
    pub feed: Arc<str>,
    /// Line in it.
    pub line: usize,
    /// What the feed says about it, safe to show.
    pub comment: String,
    listed: Listed,
}

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    /// A block of addresses, or one, and the one port that is meant, where the feed names one.
    Network(IpNet, Option<u16>),
    /// A domain name with all below it, in small letters.
    Name(Box<[u8]>),
    /// A file's SHA-256.
    Hash([u8; HASH_BYTES]),
}

/// What all feeds list.
#[derive(Clone, Debug, Default)]
pub struct Intel {
    indicators: Vec<Indicator>,
    /// Blocks by the length of their prefix in 128 bits, the longest first, so the most exact wins.
    tables: Vec<(u32, HashMap<u128, u32>)>,
    /// Addresses of which only one port is meant.
    ends: HashMap<(u128, u16), u32>,
    names: HashMap<Box<[u8]>, u32>,
    hashes: HashMap<[u8; HASH_BYTES], u32>,
}

impl Intel {
    /// Compiles feeds. Lines that cannot be used come back as errors; the rest counts.
    pub fn from_feeds(feeds: &[&PolicyFile]) -> (Self, Vec<PolicyError>) {
        let (mut indicators, mut errors) = (Vec::new(), Vec::new());
        for feed in feeds {
            match Category::of_feed(&feed.name) {
                Some(category) => read(feed, category, &mut indicators, &mut errors),
                None => {
                    let message =
                        format!("name the file after what it lists: {}", Category::names());
                    errors.push(Problem { line: None, message }.in_file(&feed.name));
                }
            }
        }
        (Self::compile(indicators), errors)
    }

    fn compile(mut indicators: Vec<Indicator>) -> Self {
        // The worst category that lists a value speaks for it, and then the first feed; feeds come
        // in the order of their names.
        indicators.sort_by_key(|indicator| indicator.category);
        let mut tables: HashMap<u32, HashMap<u128, u32>> = HashMap::new();
        let mut compiled = Self::default();
        for (at, indicator) in indicators.iter().enumerate() {
            let at = at as u32;
            match &indicator.listed {
                Listed::Network(network, port) => {
                    let bits = prefix_bits(network);
                    let key = address_bits(network.network()) & mask(bits);
                    match port {
                        Some(port) => compiled.ends.entry((key, *port)).or_insert(at),
                        None => tables.entry(bits).or_default().entry(key).or_insert(at),
                    };
                }
                Listed::Name(name) => {
                    compiled.names.entry(name.clone()).or_insert(at);
                }
                Listed::Hash(hash) => {
                    compiled.hashes.entry(*hash).or_insert(at);
                }
            }
        }
        compiled.tables = tables.into_iter().collect();
        compiled.tables.sort_unstable_by_key(|(bits, _)| std::cmp::Reverse(*bits));
        Self { indicators, ..compiled }
    }

    /// Returns the indicator that lists the name, or the nearest one above it.
    pub fn find_name(&self, name: &[u8]) -> Option<&Indicator> {
        if self.names.is_empty() {
            return None;
        }
        let name = name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase();
        let mut rest = &name[..];
        loop {
            if let Some(&at) = self.names.get(rest) {
                return self.indicators.get(at as usize);
            }
            let dot = rest.iter().position(|&byte| byte == b'.')?;
            rest = &rest[dot + 1..];
        }
    }

    /// Returns the indicator that lists the file's SHA-256.
    pub fn find_hash(&self, hash: &[u8]) -> Option<&Indicator> {
        let at = self.hashes.get(hash)?;
        self.indicators.get(*at as usize)
    }

    /// Returns the most exact indicator that covers `end`.
    pub fn find(&self, end: SocketAddr) -> Option<&Indicator> {
        let address = address_bits(end.ip());
        (self.ends.get(&(address, end.port())))
            .or_else(|| {
                let mut tables = self.tables.iter();
                tables.find_map(|(bits, table)| table.get(&(address & mask(*bits))))
            })
            .and_then(|&at| self.indicators.get(at as usize))
    }

    /// Number of indicators.
    pub fn len(&self) -> usize {
        self.indicators.len()
    }

    /// Returns whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.indicators.is_empty()
    }

    /// Drops indicators that cover any of `addresses`; returns how many.
    pub fn protect(&mut self, addresses: &[IpAddr]) -> usize {
        let before = self.indicators.len();
        let mut indicators = std::mem::take(&mut self.indicators);
        indicators.retain(|one| match &one.listed {
            Listed::Network(network, _) => {
                !addresses.iter().any(|address| network.contains(&address.to_canonical()))
            }
            _ => true,
        });
        let dropped = before - indicators.len();
        *self = Self::compile(indicators);
        dropped
    }
}

/// Reads one feed. The first bad lines are named, the others counted.
fn read(
    feed: &PolicyFile,
    category: Category,
    indicators: &mut Vec<Indicator>,
    errors: &mut Vec<PolicyError>,
) {
    let name: Arc<str> = feed.name.as_str().into();
    let mut bad = 0usize;
    for (at, line) in feed.text.lines().enumerate() {
        let problem = match indicator(line, at + 1, &name, category) {
            Ok(None) => continue,
            Ok(Some(_)) if indicators.len() == INDICATORS_MAX => {
                format!("more than {INDICATORS_MAX} indicators; the rest is left out")
            }
            Ok(Some(indicator)) => {
                indicators.push(indicator);
                continue;
            }
            Err(message) => message,
        };
        bad += 1;
        if bad <= ERRORS_NAMED_MAX {
            errors.push(Problem::at(at + 1, problem).in_file(&feed.name));
        }
    }
    if bad > ERRORS_NAMED_MAX {
        let message = format!("{} further lines cannot be used", bad - ERRORS_NAMED_MAX);
        errors.push(Problem { line: None, message }.in_file(&feed.name));
    }
}

/// Reads one line; `None` when it says nothing.
fn indicator(
    line: &str,
    number: usize,
    feed: &Arc<str>,
    category: Category,
) -> Result<Option<Indicator>, String> {
    let line = line.trim_start_matches('\u{feff}');
    let (value, comment) = line.split_once(['#', ';', '\t']).unwrap_or((line, ""));
    let (value, comment) = (value.trim(), comment.trim_matches(['#', ';', '\t', ' ', '\r']));
    if value.is_empty() {
        return Ok(None);
    }
    Ok(Some(Indicator {
        category,
        value: value.to_owned(),
        feed: Arc::clone(feed),
        line: number,
        comment: text::visible_cut(comment.as_bytes(), COMMENT_MAX),
        listed: listed(value)?,
    }))
}

fn listed(value: &str) -> Result<Listed, String> {
    if let Some(hash) = hash(value) {
        return Ok(Listed::Hash(hash));
    }
    if let Ok(end) = value.parse::<SocketAddr>() {
        let network = IpNet::from(end.ip().to_canonical());
        guard::check(&network)?;
        return Ok(Listed::Network(network, Some(end.port())));
    }
    // The last label of a name has a letter, which that of an address or a block has not.
    let last = value.trim_end_matches('.').rsplit('.').next().unwrap_or("");
    let is_name = !value.contains([':', '/']) && last.bytes().any(|b| b.is_ascii_alphabetic());
    if is_name {
        return guard::check_name(value).map(|name| Listed::Name(name.into()));
    }
    let network = network(value)?;
    guard::check(&network)?;
    Ok(Listed::Network(network, None))
}

fn hash(value: &str) -> Option<[u8; HASH_BYTES]> {
    if value.len() != 2 * HASH_BYTES || !value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; HASH_BYTES];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&value[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

fn network(value: &str) -> Result<IpNet, String> {
    if let Ok(network) = value.parse::<IpNet>() {
        let network = network.trunc();
        return match network {
            // An IPv4 address in IPv6 clothes is the IPv4 address.
            IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.network().to_ipv4_mapped() {
                Some(v4) => IpNet::new(v4.into(), v6.prefix_len() - 96).map_err(|e| e.to_string()),
                None => Ok(network),
            },
            _ => Ok(network),
        };
    }
    let address = value.parse::<IpAddr>().map_err(|_| {
        let value = text::visible_cut(value.as_bytes(), 60);
        format!("`{value}` is neither an IP address, a CIDR block, a domain name nor a SHA-256")
    })?;
    Ok(IpNet::from(address.to_canonical()))
}

fn prefix_bits(network: &IpNet) -> u32 {
    match network {
        IpNet::V4(v4) => u32::from(v4.prefix_len()) + 96,
        IpNet::V6(v6) => u32::from(v6.prefix_len()),
    }
}

fn mask(bits: u32) -> u128 {
    u128::MAX.checked_shl(128 - bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn feed(text: &str) -> (Intel, Vec<String>) {
        let file = PolicyFile { name: "intel/c2-a.txt".into(), text: text.into() };
        let (intel, errors) = Intel::from_feeds(&[&file]);
        (intel, errors.iter().map(ToString::to_string).collect())
    }

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 80)
    }

    fn found(intel: &Intel, address: &str) -> Option<String> {
        intel.find(at(address)).map(|indicator| indicator.value.clone())
    }

    #[test]
    fn addresses_blocks_and_comments_are_read() {
        let (intel, errors) = feed(
            "# a feed\n\n5.6.7.8\n5.6.7.0/24 ; a block\n2a00:1::/32\tv6\n::ffff:9.9.1.1 # mapped\n",
        );
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(intel.len(), 4);
        assert_eq!(found(&intel, "5.6.7.8").as_deref(), Some("5.6.7.8"));
        assert_eq!(found(&intel, "5.6.7.9").as_deref(), Some("5.6.7.0/24"));
        assert_eq!(found(&intel, "2a00:1:2::3").as_deref(), Some("2a00:1::/32"));
        assert_eq!(found(&intel, "9.9.1.1").as_deref(), Some("::ffff:9.9.1.1"));
        assert_eq!(found(&intel, "5.6.8.1"), None);
        assert_eq!(intel.find(at("5.6.7.9")).unwrap().comment, "a block");
    }

    #[test]
    fn an_address_with_a_port_means_that_port() {
        let (intel, errors) = feed("5.6.7.8:443\n[2a00:1::7]:8443 ; v6\n10.0.0.1:80\n");
        assert_eq!((intel.len(), errors.len()), (2, 1));
        let found = |end: &str| intel.find(end.parse().unwrap()).is_some();
        assert!(found("5.6.7.8:443") && found("[2a00:1::7]:8443"));
        assert!(!found("5.6.7.8:53") && !found("[2a00:1::7]:443"));
    }

    #[test]
    fn lines_that_would_hurt_ourselves_are_refused_by_line() {
        let bad = [
            "0.0.0.0/0",
            "::/0",
            "8.0.0.0/7",
            "10.0.0.0/8",
            "10.1.2.3",
            "192.168.1.1",
            "127.0.0.1",
            "::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "fe80::1",
            "fd00::1",
            "169.254.169.254",
            "100.64.0.1",
            "255.255.255.255",
            "1.1.1.1",
            "8.8.8.0/24",
            "192.0.2.7",
            "2001:db8::1",
            "2000::/8",
            "not an address",
            "com",
            "a..example.net",
            "www.google.com",
            "1.2.3.4/33",
            "::ffff:10.0.0.1",
            "::ffff:0:0/96",
        ];
        let (intel, errors) = feed(&(bad.join("\n") + "\n5.6.7.8\n"));
        assert_eq!(intel.len(), 1);
        assert_eq!(errors.len(), ERRORS_NAMED_MAX + 1);
        assert!(errors[0].starts_with("intel/c2-a.txt:1: "), "{}", errors[0]);
        assert!(errors.last().unwrap().contains(&format!("{} further", bad.len() - 20)));
    }

    #[test]
    fn test_indicators_are_allowed_only_because_this_build_carries_some() {
        let (intel, errors) = feed("203.0.113.66\n203.0.113.97\n203.0.113.64/28\n");
        assert!(found(&intel, "203.0.113.66").is_some());
        assert_eq!((intel.len(), errors.len()), (1, 2));
    }

    #[test]
    fn names_mean_all_below_them_and_hashes_a_file() {
        let hash = "ab".repeat(32);
        let (intel, errors) = feed(&format!("Evil.Test.  # a name\nb.evil.test\n{hash}\n"));
        assert_eq!(errors, Vec::<String>::new());
        let found = |name: &str| intel.find_name(name.as_bytes()).map(|one| one.value.as_str());
        assert_eq!(found("evil.test"), Some("Evil.Test."));
        assert_eq!(found("WWW.EVIL.test."), Some("Evil.Test."));
        assert_eq!(found("x.b.evil.test"), Some("b.evil.test"));
        assert_eq!([found("notevil.test"), found("test"), found("")], [None; 3]);
        assert!(intel.find_hash(&[0xab; 32]).is_some() && intel.find_hash(&[0xab; 31]).is_none());
    }

    #[test]
    fn the_worst_category_speaks_and_an_unknown_one_is_refused() {
        let file = |name: &str| PolicyFile { name: name.into(), text: "5.6.7.8\n".into() };
        let feeds = [file("intel/custom.txt"), file("intel/tor-nodes.txt"), file("intel/tro.txt")];
        let (intel, errors) = Intel::from_feeds(&feeds.each_ref());
        assert_eq!(intel.find(at("5.6.7.8")).unwrap().category, Category::Tor);
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("drop_point"), "{}", errors[0]);
    }

    #[test]
    fn our_own_addresses_never_count() {
        let (mut intel, _) = feed("5.6.7.8\n5.6.0.0/16\n9.8.7.6\n");
        assert_eq!(intel.protect(&["5.6.7.8".parse().unwrap()]), 2);
        assert_eq!(found(&intel, "5.6.7.8"), None);
        assert!(found(&intel, "9.8.7.6").is_some());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,200}") {
            feed(&text);
        }

        #[test]
        fn a_block_covers_what_its_mask_says(
            address in any::<u32>(),
            other in any::<u32>(),
            bits in 12u8..=32,
        ) {
            let address = std::net::Ipv4Addr::from(address);
            let network = IpNet::new(address.into(), bits).unwrap().trunc();
            let (intel, errors) = feed(&network.to_string());
            prop_assume!(errors.is_empty());
            let other = IpAddr::from(std::net::Ipv4Addr::from(other));
            let found = intel.find(SocketAddr::new(other, 1)).is_some();
            prop_assert_eq!(found, network.contains(&other));
        }
    }
}
