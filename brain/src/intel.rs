//! Threat intelligence: addresses that others have seen do harm, compiled for lookup.
//!
//! A feed is a plain list: one address, address with port, or CIDR block a line, a comment behind
//! `;`, `#` or a tab. Feeds come from outside and are sometimes wrong, and one line such as
//! `0.0.0.0/0` would turn all traffic into findings. So each line is checked against [`guard`], and
//! a line that fails is named, not used.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::{PolicyError, PolicyFile, Problem};
use crate::record::address_bits;
use crate::text;

pub(crate) mod guard;

/// Indicators of all feeds together; each takes some 100 bytes.
const INDICATORS_MAX: usize = 1_000_000;

/// Bad lines that are named per feed; the rest is a number. A feed in a foreign format would
/// otherwise produce an error for each line.
const ERRORS_NAMED_MAX: usize = 20;

/// Bytes of a comment that is kept.
const COMMENT_MAX: usize = 200;

/// An address or block that a feed lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// The value as the feed wrote it.
    pub value: String,
    /// Feed file.
    pub feed: Arc<str>,
    /// Line in it.
    pub line: usize,
    /// What the feed says about it, safe to show.
    pub comment: String,
    network: IpNet,
    /// The one port that is meant, where the feed names one.
    port: Option<u16>,
}

/// Listed addresses of all feeds.
#[derive(Clone, Debug, Default)]
pub struct Intel {
    indicators: Vec<Indicator>,
    /// Blocks by the length of their prefix in 128 bits, the longest first, so the most exact wins.
    tables: Vec<(u32, HashMap<u128, u32>)>,
    /// Addresses of which only one port is meant.
    ends: HashMap<(u128, u16), u32>,
}

impl Intel {
    /// Compiles feeds. Lines that cannot be used come back as errors; the rest counts.
    pub fn from_feeds(feeds: &[&PolicyFile]) -> (Self, Vec<PolicyError>) {
        let (mut indicators, mut errors) = (Vec::new(), Vec::new());
        for feed in feeds {
            let name: Arc<str> = feed.name.as_str().into();
            let mut bad = 0usize;
            for (at, line) in feed.text.lines().enumerate() {
                let problem = match indicator(line, at + 1, &name) {
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
        (Self::compile(indicators), errors)
    }

    fn compile(indicators: Vec<Indicator>) -> Self {
        let mut tables: HashMap<u32, HashMap<u128, u32>> = HashMap::new();
        let mut ends = HashMap::new();
        for (at, indicator) in indicators.iter().enumerate() {
            let bits = prefix_bits(&indicator.network);
            let key = address_bits(indicator.network.network()) & mask(bits);
            // The first feed that lists a value speaks for it; feeds come in the order of their
            // names.
            if let Some(port) = indicator.port {
                ends.entry((key, port)).or_insert(at as u32);
                continue;
            }
            tables.entry(bits).or_default().entry(key).or_insert(at as u32);
        }
        let mut tables: Vec<_> = tables.into_iter().collect();
        tables.sort_unstable_by_key(|(bits, _)| std::cmp::Reverse(*bits));
        Self { indicators, tables, ends }
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
        indicators.retain(|i| !addresses.iter().any(|a| i.network.contains(&a.to_canonical())));
        let dropped = before - indicators.len();
        *self = Self::compile(indicators);
        dropped
    }
}

/// Reads one line; `None` when it says nothing.
fn indicator(line: &str, number: usize, feed: &Arc<str>) -> Result<Option<Indicator>, String> {
    let line = line.trim_start_matches('\u{feff}');
    let (value, comment) = line.split_once(['#', ';', '\t']).unwrap_or((line, ""));
    let (value, comment) = (value.trim(), comment.trim_matches(['#', ';', '\t', ' ', '\r']));
    if value.is_empty() {
        return Ok(None);
    }
    let (network, port) = match value.parse::<SocketAddr>() {
        Ok(end) => (IpNet::from(end.ip().to_canonical()), Some(end.port())),
        Err(_) => (network(value)?, None),
    };
    guard::check(&network)?;
    Ok(Some(Indicator {
        value: value.to_owned(),
        feed: Arc::clone(feed),
        line: number,
        comment: text::visible_cut(comment.as_bytes(), COMMENT_MAX),
        network,
        port,
    }))
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
        format!("`{value}` is neither an IP address nor a CIDR block")
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
        let file = PolicyFile { name: "intel/a.txt".into(), text: text.into() };
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
            "1.2.3.4/33",
            "::ffff:10.0.0.1",
            "::ffff:0:0/96",
        ];
        let (intel, errors) = feed(&(bad.join("\n") + "\n5.6.7.8\n"));
        assert_eq!(intel.len(), 1);
        assert_eq!(errors.len(), ERRORS_NAMED_MAX + 1);
        assert!(errors[0].starts_with("intel/a.txt:1: "), "{}", errors[0]);
        assert!(errors.last().unwrap().contains(&format!("{} further", bad.len() - 20)));
    }

    #[test]
    fn the_test_indicator_is_allowed_only_because_this_build_carries_it() {
        let (intel, errors) = feed("203.0.113.66\n203.0.113.67\n");
        assert!(found(&intel, "203.0.113.66").is_some());
        assert_eq!((intel.len(), errors.len()), (1, 1));
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
