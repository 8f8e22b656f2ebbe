//! What feeds list: addresses and names.

use super::{Act, HOST};

const LISTED: Act = Act { twin: "names and addresses beside listed ones", ..HOST };

pub(super) const ACTS: &[Act] = &[
    Act {
        name: "C&CActivity.B",
        finds: &["CommandAndControl:Host/ListedAddress"],
        script: "$ACTOR connect $OUTSIDE:443",
        ..LISTED
    },
    Act {
        name: "TorClient",
        finds: &["CommandAndControl:Host/TorClient"],
        script: "$ACTOR connect 203.0.113.70:80",
        ..LISTED
    },
    Act {
        name: "TorRelay",
        finds: &["CommandAndControl:Host/TorRelay"],
        needs: &["python3"],
        script: "python3 $ACT relay",
        ..LISTED
    },
    Act {
        name: "BlackholeTraffic",
        finds: &["CommandAndControl:Host/BlackholeTraffic"],
        script: "$ACTOR connect 203.0.113.71:80",
        ..LISTED
    },
    Act {
        name: "DropPoint",
        finds: &["Exfiltration:Host/DropPoint"],
        script: "$ACTOR connect 203.0.113.72:80",
        ..LISTED
    },
    Act {
        name: "BitcoinTool.B",
        finds: &["Impact:Host/CryptoAddress"],
        script: "$ACTOR connect 203.0.113.73:3333",
        ..LISTED
    },
    Act {
        name: "MaliciousIPCaller.Custom",
        finds: &["CommandAndControl:Host/ListedAddress.Custom"],
        script: "$ACTOR connect 203.0.113.74:80",
        ..LISTED
    },
    Act {
        name: "C&CActivity.B!DNS",
        finds: &["CommandAndControl:Host/ListedDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 c2.malware.test",
        ..LISTED
    },
    Act {
        name: "BlackholeTraffic!DNS",
        finds: &["CommandAndControl:Host/BlackholeDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 blackhole.malware.test",
        ..LISTED
    },
    Act {
        name: "DropPoint!DNS",
        finds: &["Exfiltration:Host/DropPointDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 drop.malware.test",
        ..LISTED
    },
    Act {
        name: "DGADomainRequest.C!DNS",
        finds: &["CommandAndControl:Host/DgaDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 xjqzkvwpfh.malware.test",
        ..LISTED
    },
    Act {
        name: "DriveBySourceTraffic!DNS",
        finds: &["InitialAccess:Host/DriveByDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 driveby.malware.test",
        ..LISTED
    },
    Act {
        name: "PhishingDomainRequest!DNS",
        finds: &["InitialAccess:Host/PhishingDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 phishing.malware.test",
        ..LISTED
    },
    Act {
        name: "BitcoinTool.B!DNS",
        finds: &["Impact:Host/CryptoDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 eu.pool.crypto.test",
        ..LISTED
    },
    Act {
        name: "BitcoinDomainRequest.Reputation",
        finds: &["Impact:Host/CryptoDomainReputation"],
        script: "$ACTOR dns-query $OUTSIDE:53 coins.crypto.test",
        ..LISTED
    },
    Act {
        name: "AbusedDomainRequest.Reputation",
        finds: &["Impact:Host/AbusedDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 abused.malware.test",
        ..LISTED
    },
    Act {
        name: "MaliciousDomainRequest.Reputation",
        finds: &["Impact:Host/MaliciousDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 bad.malware.test",
        ..LISTED
    },
    Act {
        name: "SuspiciousDomainRequest.Reputation",
        finds: &["Impact:Host/SuspiciousDomain"],
        script: "$ACTOR dns-query $OUTSIDE:53 suspicious.malware.test",
        ..LISTED
    },
    Act {
        name: "MaliciousDomainRequest.Custom",
        finds: &["Impact:Host/MaliciousDomain.Custom"],
        script: "$ACTOR dns-query $OUTSIDE:53 custom.malware.test",
        ..LISTED
    },
    Act {
        name: "MetadataDNSRebind",
        finds: &["CredentialAccess:Host/MetadataDNSRebind"],
        twin: "the cloud's own name for its metadata",
        script: "$ACTOR dns-query $OUTSIDE:53 rebind.test",
        ..HOST
    },
];
