//! One struct per signal, as it travels.
//!
//! Times are nanoseconds since the Unix epoch by the sensor's clock. Addresses are 16 bytes, IPv4
//! mapped into IPv6 (RFC 4291, section 2.5.5.2). Numbers that come from a closed set travel as
//! integers and are parsed where they arrive; a value from a newer sensor is "unknown", not an
//! error.
//!
//! A record with strings is generic over what a string is: `File` (that is `File<StrId>`) travels,
//! the sensor builds a `File` of owned bytes, the brain reads one of shared bytes, and `map_texts`
//! turns one into the other.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

mod act;
mod file;
mod host;
mod login;
mod network;
mod payload;
mod process;
mod scan;

pub use act::{
    CredentialChange, Credentials, Memory, Privilege, Uring, memory_action, memory_flag,
    privilege_action, privilege_flag,
};
pub use file::{File, file_action, file_flag};
pub use host::{Coverage, Hook, Inventory, LedgerLine, MapFill, inventory_change, inventory_kind};
pub use login::{Login, login_action, login_flag};
pub use network::{
    Connection, Counters, Flow, Sweep, Use, connection_event, direction, flow_detail, tunnel,
};
pub use payload::{Dns, DnsAnswer, Tls, dns_flag, transport};
pub use process::{
    Activity, Exec, Exit, Process, ProcessRef, Stdio, Syscalls, process_flag, stdio_kind,
};
pub use scan::{Scan, scan_trigger};

/// Defines a record with strings; they come last, as `texts`.
macro_rules! with_texts {
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
        texts {
            $($(#[$text_meta:meta])* $text:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name<S = $crate::text::StrId> {
            $($(#[$field_meta])* pub $field: $type,)*
            $($(#[$text_meta])* pub $text: S,)*
        }

        impl<S> $name<S> {
            /// Returns the same with every string replaced by what `map` makes of it.
            pub fn map_texts<T>(&self, mut map: impl FnMut(&S) -> T) -> $name<T> {
                $name { $($field: self.$field.clone(),)* $($text: map(&self.$text),)* }
            }

            /// Shows every string to `see`.
            pub fn each_text<'a>(&'a self, mut see: impl FnMut(&'a S)) {
                $(see(&self.$text);)*
            }
        }
    };
}
use with_texts;

/// An address in 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// Returns the address in its own family.
    pub fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_family() {
        for text in ["10.1.2.3", "::1", "2001:db8::7"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(ip).to_ip(), ip);
        }
    }

    #[test]
    fn every_string_of_a_record_is_mapped_in_order() {
        let file: File<&str> = File { inode: 7, path: "/a", target: "/b", ..File::default() };
        let mapped = file.map_texts(|text| text.len());
        assert_eq!((mapped.inode, mapped.path, mapped.target), (7, 2, 2));
        let mut seen = Vec::new();
        file.each_text(|text| seen.push(*text));
        assert_eq!(seen, ["/a", "/b"]);
    }
}
