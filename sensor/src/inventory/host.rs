//! Accounts, groups, the system's release, the kernel, and who listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Item;

/// Socket states of `/proc/net` (include/net/tcp_states.h): listening, and unconnected datagrams.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// Reads `/etc/passwd`: an account's version is its user id, since that is what makes it root.
pub fn users(text: &[u8]) -> Vec<Item> {
    let user = |fields: &[&[u8]]| match fields {
        [name, password, uid, gid, _, home, shell, ..] if !name.is_empty() => {
            // An empty field lets anybody in without a password.
            let open = if password.is_empty() { &b" without-password"[..] } else { b"" };
            let detail = [b"gid=", *gid, b" home=", home, b" shell=", shell, open].concat();
            Some(Item { name: name.to_vec(), version: uid.to_vec(), detail })
        }
        _ => None,
    };
    colons(text, user)
}

/// Reads `/etc/group`.
pub fn groups(text: &[u8]) -> Vec<Item> {
    let group = |fields: &[&[u8]]| match fields {
        [name, _, gid, members, ..] if !name.is_empty() => {
            Some(Item { name: name.to_vec(), version: gid.to_vec(), detail: members.to_vec() })
        }
        _ => None,
    };
    colons(text, group)
}

fn colons(text: &[u8], item: impl Fn(&[&[u8]]) -> Option<Item>) -> Vec<Item> {
    let lines = text.split(|&b| b == b'\n').filter(|line| !line.starts_with(b"#"));
    lines.filter_map(|line| item(&line.split(|&b| b == b':').collect::<Vec<_>>())).collect()
}

/// Reads `/etc/os-release`.
pub fn system(text: &[u8]) -> Vec<Item> {
    let value = |key: &[u8]| {
        let line = text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(key))?;
        let line = line.trim_ascii();
        let quoted = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\""));
        Some(quoted.unwrap_or(line).to_vec())
    };
    let Some(name) = value(b"ID=") else { return Vec::new() };
    let version = value(b"VERSION_ID=").unwrap_or_default();
    vec![Item { name, version, detail: value(b"PRETTY_NAME=").unwrap_or_default() }]
}

/// The running kernel: `/proc/sys/kernel/osrelease` and `/proc/cmdline`.
pub fn kernel(release: &[u8], parameters: &[u8]) -> Vec<Item> {
    vec![Item {
        name: b"linux".to_vec(),
        version: release.trim_ascii().to_vec(),
        detail: parameters.trim_ascii().to_vec(),
    }]
}

/// Reads `/proc/net/tcp`, `tcp6`, `udp` or `udp6`: who waits for others, and as which user.
pub fn listeners(protocol: &str, text: &[u8]) -> Vec<Item> {
    let wanted = if protocol == "tcp" { TCP_LISTEN } else { UDP_UNCONNECTED };
    let listener = |line: &[u8]| {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace().skip(1);
        let local = end(words.next()?)?;
        let (_, state) = (words.next()?, words.next()?);
        let uid = words.nth(3)?;
        (state == wanted && local.port() != 0).then(|| Item {
            name: format!("{protocol} {local}").into_bytes(),
            version: Vec::new(),
            detail: format!("uid={uid}").into_bytes(),
        })
    };
    text.split(|&b| b == b'\n').filter_map(listener).collect()
}

/// `0100007F:0016`: the address in words of the host's byte order, the port in digits.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at)?.to_ne_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(items: &[Item]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        items
            .iter()
            .map(|i| format!("{}|{}|{}", text(&i.name), text(&i.version), text(&i.detail)))
            .collect()
    }

    #[test]
    fn accounts_tell_what_makes_them_dangerous() {
        let text = b"root:x:0:0:root:/root:/bin/bash\n# no\nbroken\neve::0:0::/:/bin/sh\n";
        assert_eq!(
            told(&users(text)),
            [
                "root|0|gid=0 home=/root shell=/bin/bash",
                "eve|0|gid=0 home=/ shell=/bin/sh without-password"
            ]
        );
        assert_eq!(told(&groups(b"sudo:x:27:alice,bob\n")), ["sudo|27|alice,bob"]);
    }

    #[test]
    fn the_system_names_itself() {
        let text = b"PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_ID=\"12\"\n";
        assert_eq!(told(&system(text)), ["debian|12|Debian GNU/Linux 12"]);
        assert_eq!(told(&kernel(b"6.1.0\n", b"quiet\n")), ["linux|6.1.0|quiet"]);
    }

    #[test]
    fn only_who_waits_is_a_listener() {
        let text = b"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     7        0 20 1 0 100 0 0 10 0\n\
   1: 0100007F:0016 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 21 1 0 100 0 0 10 0\n";
        assert_eq!(told(&listeners("tcp", text)), ["tcp 127.0.0.1:22||uid=7"]);
        let text = b"   0: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 \
00000000:00000000 00:00000000 00000000     0        0 20 1 0\n";
        assert_eq!(told(&listeners("udp", text)), ["udp [::1]:53||uid=0"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (users(&text), groups(&text), system(&text), listeners("tcp", &text));
        }
    }
}
