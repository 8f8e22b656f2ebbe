//! Every maximum of the protocol, with the reason for its value.
//!
//! A sender stays below these; a receiver refuses what crosses one, with a counted reason.

use std::time::Duration;

use crate::batch::Lane;

/// Bytes of a frame's body as it travels. A tick of a busy host compresses to some 100 KiB.
pub const FRAME_MAX: usize = 1024 * 1024;

/// Bytes of a frame's body after decompression; also the ceiling for what decoding may allocate.
pub const BODY_MAX: usize = 4 * 1024 * 1024;

/// Records of all kinds in one batch. A fuller tick is cut into several batches.
pub const RECORDS_MAX: usize = 16_384;

/// Processes in one batch: those that records name, and their ancestors.
pub const PROCESSES_MAX: usize = 16_384;

/// Strings in a batch's table.
pub const STRINGS_MAX: usize = 65_536;

/// Bytes of one string. The kernel's own limit for a path is 4096; arguments are cut to it as well.
pub const STRING_MAX: usize = 4096;

/// Bytes of all strings in a batch's table.
pub const STRING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Ancestors that a finding's lineage shows; deeper trees are cut at the root side.
pub const LINEAGE_MAX: usize = 16;

/// Hooks named in one coverage record.
pub const HOOKS_MAX: usize = 256;

/// Ledger lines in one coverage record.
pub const LEDGER_MAX: usize = 256;

/// Bytes of a control frame's body. A certificate chain or a policy fits well below.
pub const CONTROL_MAX: usize = 256 * 1024;

/// Answers of one DNS message; more are left out and flagged. An answer in a datagram of the size
/// that resolvers agreed on (1232 bytes) holds fewer than 80 addresses.
pub const ANSWERS_MAX: usize = 64;

/// Buckets of a system call's latency: 2^63 nanoseconds are the last.
pub const LATENCY_MAX: usize = 64;

/// Bytes of the settings that a policy gives to a sensor: its whole configuration file is shorter.
pub const SETTINGS_MAX: usize = 64 * 1024;

/// Bytes of the YARA rules that a policy gives to a sensor, with their names. The largest public
/// collections for Linux have some 2 MiB.
pub const RULES_MAX: usize = 6 * 1024 * 1024;

/// Files of YARA rules.
pub const RULE_FILES_MAX: usize = 2_048;

/// Bytes of a rule file's name.
pub const RULE_NAME_MAX: usize = 128;

/// Bytes of rules in one message.
pub const RULE_PART_MAX: usize = 128 * 1024;

/// Kernel maps named in one coverage record.
pub const MAPS_MAX: usize = 128;

/// Streams that a sensor sends batches on: one per lane. Each may hold a frame that is not whole.
pub const LANES_MAX: usize = Lane::ALL.len();

/// A handshake takes one round trip; this is for the slowest link.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// The control stream and its hello come within this.
pub const HELLO_TIME: Duration = Duration::from_secs(10);

/// The whole of an enrolment takes no longer than this.
pub const ENROL_TIME: Duration = Duration::from_secs(10);

/// A frame that has begun is complete after this: the largest one over 35 KB/s. A slower one is
/// somebody who holds memory.
pub const FRAME_TIME: Duration = Duration::from_secs(30);

/// What the brain says is taken within this. A sensor that sends and does not listen would have
/// the brain keep its acknowledgements for as long as it likes.
pub const ANSWER_TIME: Duration = Duration::from_secs(30);
