//! What a feed's values stand for.

/// Categories of indicators, the worse first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// Servers that give orders to malware.
    C2,
    /// Where malware delivers what it took.
    DropPoint,
    /// Names that malware computes.
    Dga,
    /// Servers and files that do harm in another way.
    Malicious,
    /// Sites that break into browsers.
    DriveBy,
    /// Sites that ask for passwords.
    Phishing,
    /// Pools and exchanges of crypto currencies.
    Crypto,
    /// Names of bad repute around crypto currencies.
    CryptoReputation,
    /// Nodes of the Tor network.
    Tor,
    /// Addresses to which hostile names were redirected.
    Blackhole,
    /// Names under which much abuse happens.
    Abused,
    /// What the operator lists himself.
    Custom,
    /// Names that are new or hardly known.
    Suspicious,
}

/// Categories by the name of their feeds; a name that is the begin of another stands behind it.
const NAMES: [(&str, Category); 13] = [
    ("c2", Category::C2),
    ("drop_point", Category::DropPoint),
    ("dga", Category::Dga),
    ("malicious", Category::Malicious),
    ("drive_by", Category::DriveBy),
    ("phishing", Category::Phishing),
    ("crypto_reputation", Category::CryptoReputation),
    ("crypto", Category::Crypto),
    ("tor", Category::Tor),
    ("blackhole", Category::Blackhole),
    ("abused", Category::Abused),
    ("custom", Category::Custom),
    ("suspicious", Category::Suspicious),
];

impl Category {
    /// Returns the category of a feed by its file's name: `tor.txt`, `tor-exits.txt`.
    pub(super) fn of_feed(file: &str) -> Option<Self> {
        let name = file.rsplit('/').next().unwrap_or(file);
        let is_called = |known: &&(&str, Self)| {
            name.strip_prefix(known.0).is_some_and(|rest| rest.starts_with(['.', '-']))
        };
        NAMES.iter().find(is_called).map(|(_, category)| *category)
    }

    /// Returns the category's name.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, category)| *category == self).map_or("", |(name, _)| name)
    }

    /// Returns the names of all, for people.
    pub(super) fn names() -> String {
        NAMES.map(|(name, _)| name).join(", ")
    }
}
