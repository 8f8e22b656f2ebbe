//! Names that lead to a cloud's metadata service.
//!
//! **What.** A name that is not the cloud's own was answered with the address at which instances
//! get their credentials. A web application that checks a name and then fetches it can be led
//! there.
//!
//! **Evidence.** The answer, with its name and who asked.
//!
//! **False positives.** Names that clouds themselves give the service are in the settings; add an
//! alias of your own there.
//!
//! **Method.** One record decides; one finding for each name.

use std::net::IpAddr;

use super::report::{Act, shown};
use super::{Detector, KindText, Reporter};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{DnsAnswer, Event, EventKind};

const TEXT: KindText = KindText {
    name: "CredentialAccess:Host/MetadataDNSRebind",
    guardduty: Some("UnauthorizedAccess:Runtime/MetadataDNSRebind"),
    description: "A name was answered with the address of the cloud's metadata service. Somebody \
        tries to make a program fetch the credentials of this instance.",
    remediation: "Find out which program asked for the name and from where it had it. Require \
        session tokens for the metadata service (IMDSv2), and rotate the instance's credentials \
        if the program fetched them.",
    techniques: &["T1552.005"],
};

const SEVERITY: f64 = 8.0;

/// Types of answers that are addresses.
const A: u16 = 1;
const AAAA: u16 = 28;

/// The detector.
#[derive(Debug)]
pub struct MetadataRebind {
    settings: policy::MetadataRebind,
    reporter: Reporter,
}

impl MetadataRebind {
    /// Returns the detector.
    pub fn new(active: &Active<policy::MetadataRebind>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }

    fn is_own(&self, name: &[u8]) -> bool {
        let name = name.strip_suffix(b".").unwrap_or(name);
        self.settings.own_names.iter().any(|own| name.eq_ignore_ascii_case(own.as_bytes()))
    }
}

/// Returns the address in an answer.
pub(super) fn address(answer: &DnsAnswer) -> Option<IpAddr> {
    let address: IpAddr = match answer.kind {
        A => <[u8; 4]>::try_from(&answer.data[..]).ok()?.into(),
        AAAA => <[u8; 16]>::try_from(&answer.data[..]).ok()?.into(),
        _ => return None,
    };
    Some(address.to_canonical())
}

impl Detector for MetadataRebind {
    fn name(&self) -> &'static str {
        "metadata_rebind"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::Dns(dns) = &event.kind else { return };
        if !dns.is_response() || self.is_own(&dns.name) {
            return;
        }
        let mut answered = dns.answers.iter().filter_map(address);
        let Some(found) = answered.find(|one| self.settings.addresses.contains(one)) else {
            return;
        };
        let name = shown(&dns.name.to_ascii_lowercase());
        out.push(self.reporter.act_about(
            event,
            Act {
                severity: SEVERITY,
                subject: name.clone(),
                what: format!("was told that {name} is at {found}"),
                kind: EvidenceKind::Dns,
                fields: vec![
                    ("name", name.into()),
                    ("answer", found.to_string().into()),
                    ("resolver", dns.remote.to_string().into()),
                ],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
