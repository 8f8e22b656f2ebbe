//! What can never be an indicator, whatever a feed says.

use std::net::IpAddr;

use ipnet::IpNet;

/// Shortest prefixes that may be listed. The largest blocks that serious lists carry are an IPv4
/// /12 and an IPv6 /24; anything wider names whole providers.
const V4_PREFIX_MIN: u8 = 12;
const V6_PREFIX_MIN: u8 = 24;

/// Blocks with a meaning of their own (RFC 6890 and its registry), where an indicator would name
/// neighbours, the host itself, or nobody.
const SPECIAL: &[(&str, &str)] = &[
    ("0.0.0.0/8", "the host itself"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.168.0.0/16", "private"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/127", "the host itself"),
    ("::ffff:0:0/96", "IPv4 in IPv6 notation"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("ff00::/8", "multicast"),
];

/// Resolvers that whole fleets use. A feed that lists one is wrong, and would flag every host.
const RESOLVERS: &[&str] = &[
    "1.1.1.1/32",
    "1.0.0.1/32",
    "8.8.8.8/32",
    "8.8.4.4/32",
    "9.9.9.9/32",
    "149.112.112.112/32",
    "208.67.222.222/32",
    "208.67.220.220/32",
    "2606:4700:4700::1111/128",
    "2606:4700:4700::1001/128",
    "2001:4860:4860::8888/128",
    "2001:4860:4860::8844/128",
    "2620:fe::fe/128",
];

/// Blocks for documentation and tests (RFC 5737, RFC 3849): no real traffic, so no real indicator.
const DOCUMENTATION: &[&str] =
    &["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"];

/// Stand for hostile addresses in demonstrations and tests: the feeds that this build carries list
/// some of them.
const TEST_INDICATORS: [&str; 2] = ["203.0.113.64/28", "2001:db8::66/128"];

/// Names below which everybody has something. A feed that lists one is wrong; one that lists what
/// lies below it, such as a page of one user, is not, but for those of [`OWNED`].
const SHARED: &[&str] = &[
    "co.uk",
    "org.uk",
    "com.au",
    "co.jp",
    "com.br",
    "co.in",
    "com.cn",
    "github.io",
    "gitlab.io",
    "pages.dev",
    "workers.dev",
    "web.app",
    "firebaseapp.com",
    "netlify.app",
    "vercel.app",
    "herokuapp.com",
    "blogspot.com",
    "wordpress.com",
    "azurewebsites.net",
    "cloudapp.net",
    "windows.net",
    "blob.core.windows.net",
    "cloudfront.net",
    "amazonaws.com",
    "s3.amazonaws.com",
    "googleusercontent.com",
    "appspot.com",
    "run.app",
    "akamaized.net",
    "fastly.net",
    "in-addr.arpa",
    "ip6.arpa",
    "dropbox.com",
    "discord.com",
    "telegram.org",
    "t.me",
    "bit.ly",
];

/// Names that belong, with all below them, to those whom every host asks.
const OWNED: &[&str] = &[
    "google.com",
    "googleapis.com",
    "gstatic.com",
    "microsoft.com",
    "windowsupdate.com",
    "apple.com",
    "icloud.com",
    "debian.org",
    "ubuntu.com",
    "redhat.com",
    "fedoraproject.org",
    "kernel.org",
    "github.com",
    "githubusercontent.com",
    "docker.com",
    "docker.io",
    "quay.io",
    "cloudflare.com",
    "letsencrypt.org",
    "ntp.org",
    "root-servers.net",
    "mozilla.org",
];

/// Longest name and label (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Returns the name in small letters, or says why it cannot be an indicator.
pub(super) fn check_name(value: &str) -> Result<Vec<u8>, String> {
    let name = value.trim_end_matches('.').to_ascii_lowercase();
    let shown = crate::text::visible_cut(name.as_bytes(), 60);
    let is_label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    if name.len() > NAME_MAX || !name.split('.').all(is_label) {
        return Err(format!("`{shown}` is no domain name; write it as DNS does, without a path"));
    }
    if !name.contains('.') || SHARED.contains(&name.as_str()) {
        return Err(format!("{shown} is shared by everybody; list what lies below it"));
    }
    let below = |owner: &&str| name.strip_suffix(*owner).is_some_and(|rest| rest.ends_with('.'));
    if OWNED.contains(&name.as_str()) || OWNED.iter().any(below) {
        return Err(format!("{shown} belongs to those whom every host asks; delete the line"));
    }
    Ok(name.into_bytes())
}

/// Says why `network` cannot be an indicator.
pub(super) fn check(network: &IpNet) -> Result<(), String> {
    let (prefix, min) = match network {
        IpNet::V4(v4) => (v4.prefix_len(), V4_PREFIX_MIN),
        IpNet::V6(v6) => (v6.prefix_len(), V6_PREFIX_MIN),
    };
    if prefix < min {
        return Err(format!("{network} is too wide; list blocks of /{min} or smaller"));
    }
    if let Some((_, what)) = SPECIAL.iter().find(|(block, _)| overlap(network, block)) {
        return Err(format!("{network} is {what} and cannot be an indicator; delete the line"));
    }
    if RESOLVERS.iter().any(|block| overlap(network, block)) {
        return Err(format!("{network} covers a public resolver that hosts use; delete the line"));
    }
    let whole = network.prefix_len() == network.max_prefix_len();
    let stands_for_one = |block: &&str| block.parse::<IpNet>().is_ok_and(|b| b.contains(network));
    if !(whole && TEST_INDICATORS.iter().any(stands_for_one))
        && DOCUMENTATION.iter().any(|block| overlap(network, block))
    {
        return Err(format!("{network} is reserved for documentation; delete the line"));
    }
    Ok(())
}

/// Returns whether an address is one that only this network can mean, so that a peer there is a
/// neighbour rather than somebody on the internet.
pub(crate) fn is_private(address: IpAddr) -> bool {
    let network = IpNet::from(address.to_canonical());
    SPECIAL.iter().any(|(block, _)| overlap(&network, block))
}

fn overlap(network: &IpNet, block: &str) -> bool {
    let Ok(block) = block.parse::<IpNet>() else { return false };
    block.contains(network) || network.contains(&block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_in_the_tables_parses() {
        let all = SPECIAL.iter().map(|(block, _)| block).chain(RESOLVERS).chain(DOCUMENTATION);
        for block in all.chain(&TEST_INDICATORS) {
            let network: IpNet = block.parse().unwrap();
            assert_eq!(network, network.trunc(), "{block}");
        }
    }

    #[test]
    fn neighbours_are_told_from_the_internet() {
        for private in ["10.77.0.12", "fd77::12", "127.0.0.1", "::1", "fe80::1"] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["203.0.113.66", "8.8.8.8", "2a00::1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
