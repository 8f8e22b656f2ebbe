//! Everything that sensor and brain say to each other besides batches.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::batch::{Clock, Position};

/// First frame of a session, from the sensor. Facts here are shown, never trusted as identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The host's own name.
    pub hostname: String,
    /// Version of the sensor program.
    pub sensor_version: String,
    /// Kernel release.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The epoch of the batches that will follow.
    pub epoch: u64,
    /// Processors online.
    pub cpus: u32,
}

/// The brain's answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Highest sequence number on the brain's disk for this epoch, per lane in
    /// [`crate::batch::Lane`]'s order; the sensor forgets up to there and goes on after it.
    pub durable: [u64; 2],
    /// The brain's clock, nanoseconds since the Unix epoch.
    pub brain_unix_ns: u64,
}

/// Batches of a lane up to and including this position are on the brain's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The highest such position.
    pub position: Position,
}

/// Why the brain ends a session or refuses an enrolment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Stable name, also the metric's label.
    pub reason: String,
    /// One sentence for the operator of the sensor.
    pub message: String,
}

/// A sensor without a certificate asks for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The secret part of a join token.
    pub token: String,
    /// The name under which the host will be shown.
    pub hostname: String,
    /// PKCS #10 certificate signing request, DER. Its subject is ignored.
    #[serde(deserialize_with = "grown")]
    pub csr_der: Vec<u8>,
}

/// The brain enrols a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolReply {
    /// The id that the certificate binds.
    pub sensor_id: String,
    /// The sensor's certificate, DER.
    #[serde(deserialize_with = "grown")]
    pub certificate_der: Vec<u8>,
}

/// What the brain's policy wants of a sensor. It stands over the sensor's own configuration, and
/// only for what may change while the sensor runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Names this state of the policy.
    pub revision: String,
    /// Sections of the sensor's configuration file, at most
    /// [`crate::limits::SETTINGS_MAX`] bytes; empty for none.
    pub text: String,
}

/// What became of [`Settings`]: all of it is applied or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsReply {
    /// The state of the policy that it is about.
    pub revision: String,
    /// Why nothing is applied, one sentence; empty when all is.
    pub problem: String,
}

/// Names the YARA rules of the brain's policy. A sensor that has others asks for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleOffer {
    /// Names this state of the rules; empty when there are none.
    pub revision: String,
}

/// A part of the rules: a file, or a part of one, whose text goes on in the next part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulePart {
    /// The state of the rules that it is of.
    pub revision: String,
    /// Name of the file, at most [`crate::limits::RULE_NAME_MAX`] bytes.
    pub file: String,
    /// Its text or a part of it, at most [`crate::limits::RULE_PART_MAX`] bytes.
    pub text: String,
    /// Parts that follow; 0 is the last.
    pub rest: u32,
}

/// What became of a [`RuleOffer`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReply {
    /// The state of the rules that it is about.
    pub revision: String,
    /// The sensor has others and asks for these.
    pub wanted: bool,
    /// Rules that are used.
    pub rules: u32,
    /// What of them cannot be used, or why none are, with file and line; empty when all are.
    pub problem: String,
}

/// Asks what a host's clocks say, so that the brain can map the host's times onto its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeProbe {
    /// Comes back in the answer.
    pub number: u32,
}

/// What the clocks said when the probe was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeReply {
    /// The probe's.
    pub number: u32,
    /// The host's clocks.
    pub clock: Clock,
}

/// Every frame that is not a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Sensor to brain, first frame of a session.
    Hello(Hello),
    /// Brain to sensor, answer to it.
    Welcome(Welcome),
    /// Brain to sensor.
    Ack(Ack),
    /// Brain to sensor, before it closes.
    Refusal(Refusal),
    /// Sensor to brain, only frame of an enrolment.
    EnrolRequest(EnrolRequest),
    /// Brain to sensor, answer to it.
    EnrolReply(EnrolReply),
    /// Brain to sensor, at any time after the welcome.
    Settings(Settings),
    /// Sensor to brain, answer to it.
    SettingsReply(SettingsReply),
    /// Brain to sensor, at any time after the welcome.
    RuleOffer(RuleOffer),
    /// Sensor to brain, answer to it: at once, and again when the rules have been tried.
    RuleReply(RuleReply),
    /// Brain to sensor, when it asked.
    RulePart(RulePart),
    /// Brain to sensor, at any time after the welcome of a [`crate::ALPN_COLUMNS`] session.
    TimeProbe(TimeProbe),
    /// Sensor to brain, answer to it.
    TimeReply(TimeReply),
}

/// Takes bytes one by one: what their count announces is not believed before they are there.
fn grown<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    struct Bytes;

    impl<'de> Visitor<'de> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Vec<u8>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = from.next_element()? {
                bytes.push(byte);
            }
            Ok(bytes)
        }
    }

    from.deserialize_seq(Bytes)
}
