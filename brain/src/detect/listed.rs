//! What a finding about something listed is called, by what lists it.

use std::sync::Arc;

use super::{KindText, Reporter};
use crate::finding::PolicyRef;
use crate::intel::Category;

/// One type of finding, and how bad it is when the host began it.
pub(super) struct Row {
    pub(super) text: KindText,
    pub(super) severity: f64,
}

/// Describes the types of one folder of indicators.
macro_rules! rows {
    ($(
        $name:ident: $kind:literal, $guardduty:expr, $severity:literal, [$($technique:literal),*],
        $description:literal, $remediation:literal;
    )*) => {
        $(static $name: Row = Row {
            text: KindText {
                name: $kind,
                guardduty: $guardduty,
                description: $description,
                remediation: $remediation,
                techniques: &[$($technique),*],
            },
            severity: $severity,
        };)*
    };
}

rows! {
    C2_ADDRESS: "CommandAndControl:Host/ListedAddress", Some("Backdoor:Runtime/C&CActivity.B"), 8.0,
        ["T1071", "T1095"],
        "The host exchanged packets with an address that a threat intelligence feed lists. If the \
            host began the conversation, a program on it may be under someone else's control.",
        "Look at the process and its ancestors. If the host began the conversation and nobody can \
            explain it, isolate the host and keep the process's memory and image.";
    C2_NAME: "CommandAndControl:Host/ListedDomain", Some("Backdoor:Runtime/C&CActivity.B!DNS"), 8.0,
        ["T1071.004", "T1071"],
        "The host asked for a name that a threat intelligence feed lists as one that gives orders \
            to malware.",
        "Look at the process that asked, and at its ancestors. If nobody can explain it, isolate \
            the host and keep the process's memory and image.";
    TOR_CLIENT: "CommandAndControl:Host/TorClient", Some("UnauthorizedAccess:Runtime/TorClient"),
        7.5, ["T1090.003"],
        "The host connected to a node of the Tor network, which hides who talks to whom.",
        "If nobody uses Tor on this host on purpose, look at the process and at what it sends.";
    DROP_ADDRESS: "Exfiltration:Host/DropPoint", Some("Trojan:Runtime/DropPoint"), 6.0, ["T1048"],
        "The host talked to an address where malware delivers what it took.",
        "Find out what the process sent, isolate the host, and treat what it could read as stolen.";
    DROP_NAME: "Exfiltration:Host/DropPointDomain", Some("Trojan:Runtime/DropPoint!DNS"), 6.0,
        ["T1048"],
        "The host asked for the name of a server where malware delivers what it took.",
        "Find out what the process sent, isolate the host, and treat what it could read as stolen.";
    CRYPTO_ADDRESS: "Impact:Host/CryptoAddress", Some("CryptoCurrency:Runtime/BitcoinTool.B"), 7.5,
        ["T1496.001"],
        "The host talked to a server of a crypto currency. Most often a miner runs there that \
            nobody ordered.",
        "Stop the process, unless it is yours, and find out how it came to run.";
    CRYPTO_NAME: "Impact:Host/CryptoDomain", Some("CryptoCurrency:Runtime/BitcoinTool.B!DNS"), 7.5,
        ["T1496.001"],
        "The host asked for a name of a crypto currency's pool or exchange. Most often a miner \
            runs there that nobody ordered.",
        "Stop the process, unless it is yours, and find out how it came to run.";
    CRYPTO_REPUTE: "Impact:Host/CryptoDomainReputation",
        Some("Impact:Runtime/BitcoinDomainRequest.Reputation"), 7.0, ["T1496.001"],
        "The host asked for a name of bad repute that has to do with crypto currencies.",
        "Stop the process, unless it is yours, and find out how it came to run.";
    BLACKHOLE_ADDRESS: "CommandAndControl:Host/BlackholeTraffic",
        Some("Trojan:Runtime/BlackholeTraffic"), 5.5, ["T1071"],
        "The host talked to an address to which hostile names were redirected. What it runs looks \
            for a server that was taken from its owner.",
        "The malware is still there although its server is not: look at the process.";
    BLACKHOLE_NAME: "CommandAndControl:Host/BlackholeDomain",
        Some("Trojan:Runtime/BlackholeTraffic!DNS"), 5.5, ["T1071.004"],
        "The host asked for a name that leads to where hostile names were redirected. What it runs \
            looks for a server that was taken from its owner.",
        "The malware is still there although its server is not: look at the process.";
    PHISHING: "InitialAccess:Host/PhishingDomain", Some("Trojan:Runtime/PhishingDomainRequest!DNS"),
        7.0, ["T1566.002"],
        "The host asked for the name of a site that asks people for their passwords.",
        "Ask the user what he typed there, and change those passwords.";
    DRIVE_BY: "InitialAccess:Host/DriveByDomain", Some("Trojan:Runtime/DriveBySourceTraffic!DNS"),
        7.5, ["T1189"],
        "The host asked for the name of a site that breaks into the programs which visit it.",
        "Look at what the visiting program started and wrote since.";
    DGA: "CommandAndControl:Host/DgaDomain", Some("Trojan:Runtime/DGADomainRequest.C!DNS"), 7.5,
        ["T1568.002"],
        "The host asked for a name that malware computes to find its server.",
        "Look at the process that asked. Malware of this kind asks for many names: isolate the host.";
    ABUSED: "Impact:Host/AbusedDomain", Some("Impact:Runtime/AbusedDomainRequest.Reputation"), 5.0,
        ["T1071.004"],
        "The host asked for a name under which much abuse happens.",
        "Look at the process that asked, and whether it has a reason to.";
    MALICIOUS_NAME: "Impact:Host/MaliciousDomain",
        Some("Impact:Runtime/MaliciousDomainRequest.Reputation"), 7.5, ["T1071.004"],
        "The host asked for a name that is known to do harm.",
        "Look at the process that asked, and at what it fetched.";
    SUSPICIOUS: "Impact:Host/SuspiciousDomain",
        Some("Impact:Runtime/SuspiciousDomainRequest.Reputation"), 3.0, ["T1071.004"],
        "The host asked for a name that is new or hardly known.",
        "Look at the process that asked, and whether it has a reason to.";
    SUSPICIOUS_ADDRESS: "CommandAndControl:Host/SuspiciousAddress", None, 3.0, ["T1071"],
        "The host talked to an address of bad repute.",
        "Look at the process, and whether it has a reason to.";
    CUSTOM_ADDRESS: "CommandAndControl:Host/ListedAddress.Custom",
        Some("UnauthorizedAccess:EC2/MaliciousIPCaller.Custom"), 6.0, ["T1071"],
        "The host talked to an address on your own list.",
        "Do what you have decided about the list.";
    CUSTOM_NAME: "Impact:Host/MaliciousDomain.Custom",
        Some("Impact:EC2/MaliciousDomainRequest.Custom"), 6.0, ["T1071.004"],
        "The host asked for a name on your own list.",
        "Do what you have decided about the list.";
    MALICIOUS_FILE: "Execution:Host/MaliciousFileExecuted",
        Some("Execution:Runtime/MaliciousFileExecuted"), 8.5, ["T1204.002", "T1059"],
        "A program ran whose content is known to be malware.",
        "Isolate the host, keep the file and the process's memory, and find out how it came there.";
    SUSPICIOUS_FILE: "Execution:Host/SuspiciousFileExecuted", None, 5.0, ["T1204.002"],
        "A program ran whose content is listed as suspicious.",
        "Find out who brought it, and whether the host needs it.";
    CUSTOM_FILE: "Execution:Host/MaliciousFileExecuted.Custom",
        Some("Execution:Runtime/MaliciousFileExecuted.Custom"), 7.0, ["T1204.002"],
        "A program ran whose content is on your own list.",
        "Do what you have decided about the list.";
    TOR_RELAY: "CommandAndControl:Host/TorRelay", Some("UnauthorizedAccess:Runtime/TorRelay"), 8.0,
        ["T1090.003"],
        "A program on the host takes connections from nodes of the Tor network and makes some to \
            others: it passes on what strangers send.",
        "If nobody runs a relay here on purpose, stop the process and find out who started it.";
    TOR_CALLER: "InitialAccess:Host/TorCaller", None, 2.0, ["T1090.003"],
        "Somebody reached the host through the Tor network, which hides who talks to whom.",
        "Look at what the caller did. Visitors of a public site come this way as well.";
}

/// Reporters of the types that one detector raises.
#[derive(Debug)]
pub(super) struct Reporters {
    policy: Arc<PolicyRef>,
    made: Vec<(&'static str, Reporter, f64)>,
}

impl Reporters {
    pub(super) fn new(policy: &Arc<PolicyRef>) -> Self {
        Self { policy: Arc::clone(policy), made: Vec::new() }
    }

    /// Returns the reporter of a row with its severity.
    pub(super) fn of(&mut self, row: &'static Row) -> (&Reporter, f64) {
        let known = self.made.iter().position(|(name, ..)| *name == row.text.name);
        let at = known.unwrap_or_else(|| {
            let reporter = Reporter::new(&row.text, &self.policy);
            self.made.push((row.text.name, reporter, row.severity));
            self.made.len() - 1
        });
        let (_, reporter, severity) = &self.made[at];
        (reporter, *severity)
    }
}

/// Returns the type for a listed address.
pub(super) fn address(category: Category) -> &'static Row {
    match category {
        Category::Tor => &TOR_CLIENT,
        Category::DropPoint => &DROP_ADDRESS,
        Category::Crypto | Category::CryptoReputation => &CRYPTO_ADDRESS,
        Category::Blackhole => &BLACKHOLE_ADDRESS,
        Category::Custom => &CUSTOM_ADDRESS,
        Category::Abused | Category::Suspicious => &SUSPICIOUS_ADDRESS,
        Category::C2
        | Category::Dga
        | Category::Malicious
        | Category::DriveBy
        | Category::Phishing => &C2_ADDRESS,
    }
}

/// Returns the type for a listed name.
pub(super) fn name(category: Category) -> &'static Row {
    match category {
        Category::C2 => &C2_NAME,
        Category::DropPoint => &DROP_NAME,
        Category::Dga => &DGA,
        Category::Malicious => &MALICIOUS_NAME,
        Category::DriveBy => &DRIVE_BY,
        Category::Phishing => &PHISHING,
        Category::Crypto => &CRYPTO_NAME,
        Category::CryptoReputation => &CRYPTO_REPUTE,
        Category::Tor => &TOR_CLIENT,
        Category::Blackhole => &BLACKHOLE_NAME,
        Category::Abused => &ABUSED,
        Category::Custom => &CUSTOM_NAME,
        Category::Suspicious => &SUSPICIOUS,
    }
}

/// Returns the type for a listed file.
pub(super) fn file(category: Category) -> &'static Row {
    match category {
        Category::Custom => &CUSTOM_FILE,
        Category::Abused | Category::Suspicious => &SUSPICIOUS_FILE,
        _ => &MALICIOUS_FILE,
    }
}

/// Returns the type for somebody who comes from a node of the Tor network; a program that connects
/// to such nodes as well is one.
pub(super) fn tor_caller(relays: bool) -> &'static Row {
    if relays { &TOR_RELAY } else { &TOR_CALLER }
}
