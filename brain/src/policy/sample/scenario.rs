//! A scenario as its file writes it: processes by name, and what they do, in order.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One scenario on one host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What happens, in words.
    pub name: String,
    /// The type of the finding, where the policy has several.
    #[serde(default)]
    pub raises: Option<String>,
    /// The host's name and role, where a policy asks for them.
    #[serde(default)]
    pub(crate) host: Option<String>,
    #[serde(default)]
    pub(crate) role: Option<String>,
    /// Processes by a name that only the scenario uses.
    #[serde(default)]
    pub(crate) processes: BTreeMap<String, ProcessText>,
    /// What happens, in order.
    pub(crate) events: Vec<Step>,
}

/// A process of a scenario.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ProcessText {
    pub(crate) parent: Option<String>,
    pub(crate) exe: String,
    /// Task name, where it is not the executable's.
    pub(crate) comm: Option<String>,
    pub(crate) args: Args,
    pub(crate) user: String,
    pub(crate) uid: u32,
    /// Effective user id, where it is another.
    pub(crate) euid: Option<u32>,
    pub(crate) pid: Option<u32>,
    pub(crate) flags: Vec<String>,
    pub(crate) container: String,
    pub(crate) cgroup: String,
    pub(crate) cwd: String,
    pub(crate) script: String,
    pub(crate) tty: String,
    /// Watched environment variables, `NAME=value`.
    pub(crate) env: Vec<String>,
    /// User id with which its session logged in.
    pub(crate) login_uid: Option<u32>,
    /// Audit session.
    pub(crate) session: Option<u32>,
    /// Hash of the executable, in hexadecimal digits.
    pub(crate) sha256: String,
}

/// Arguments: a list, or text that spaces divide.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Args {
    Text(String),
    List(Vec<String>),
}

impl Default for Args {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// One event; the key names what happens and its value the process (`-` for none).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) exec: Option<String>,
    pub(crate) exit: Option<String>,
    pub(crate) connect: Option<String>,
    pub(crate) connect_failed: Option<String>,
    pub(crate) accept: Option<String>,
    pub(crate) listen: Option<String>,
    pub(crate) close: Option<String>,
    pub(crate) flow: Option<String>,
    pub(crate) module: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) dns: Option<String>,
    pub(crate) tls: Option<String>,
    pub(crate) memory: Option<String>,
    pub(crate) privilege: Option<String>,
    pub(crate) uring: Option<String>,
    pub(crate) activity: Option<String>,
    pub(crate) scan: Option<String>,
    pub(crate) login: Option<String>,
    pub(crate) heartbeat: Option<String>,

    /// First and last number of the repetition, such as `1-100`.
    pub(crate) n: Option<String>,
    /// Time since the event before.
    pub(crate) after_ms: u64,

    /// What descriptors 0 to 2 lead to: one word for all, or three.
    pub(crate) stdio: Vec<String>,
    /// Addresses with port; `{n}` stands for the number of the repetition.
    pub(crate) local: String,
    pub(crate) remote: String,
    /// For flows: `tcp`, `udp` or `icmp`.
    pub(crate) protocol: Option<String>,
    /// For flows: TCP flags that were sent and received, such as `SYN ACK`; `-` for no packet.
    pub(crate) sent: Option<String>,
    pub(crate) received: Option<String>,
    /// For flows: packets in each direction that has any.
    pub(crate) packets: Option<u64>,
    /// For flows and greetings: `outgoing`, `incoming` or `unknown`.
    pub(crate) direction: Option<String>,

    /// What is done to a file, to memory or with a privilege.
    pub(crate) action: Option<String>,
    /// The file.
    pub(crate) path: String,
    /// Name of the module; of a file, where it goes or what a link leads to.
    pub(crate) target: String,
    /// Mode of the file, or the new one, in octal digits.
    pub(crate) mode: Option<String>,
    /// Flags with which a file is opened: `truncate`, `append`.
    pub(crate) open: Vec<String>,
    /// New owner of the file.
    pub(crate) owner: Option<u32>,
    /// Whether the file lies on an overlay's upper layer.
    pub(crate) upper_layer: bool,
    /// Error number with which the call failed.
    pub(crate) error: u32,

    /// Whose memory or namespace it is.
    pub(crate) of: Option<String>,
    /// How often; once when left out.
    pub(crate) count: Option<u64>,
    /// Bytes.
    pub(crate) length: u64,
    /// Name of a memory file, of a mount point, or of what else a privilege is used on.
    pub(crate) name: String,
    /// What is mounted, or what is written.
    pub(crate) source: String,
    /// File system type.
    pub(crate) type_name: String,
    /// Flags of the call.
    pub(crate) argument: u64,
    /// `bpf`'s program type, or which call mounts.
    pub(crate) kind: u32,
    /// Credentials before and after: real and effective user id, and effective capabilities.
    pub(crate) before: Option<[u64; 3]>,
    pub(crate) after: Option<[u64; 3]>,

    /// The rule that matches the file, and its `meta` section, `NAME=value`.
    pub(crate) rule: String,
    pub(crate) meta: Vec<String>,

    /// The name that is asked for.
    pub(crate) query: String,
    /// Type of the question; `A` when left out.
    pub(crate) query_type: Option<String>,
    /// Addresses or names that are answered; without them and `rcode` it is a question.
    pub(crate) answers: Vec<String>,
    /// Response code of an answer.
    pub(crate) rcode: Option<u8>,
    /// Name of the server in a TLS greeting.
    pub(crate) server_name: String,

    /// Who wrote a line about a log-in; `sshd` when left out.
    pub(crate) service: Option<String>,
    /// Who logs in, or who acts; and as whom a command runs, or whose account changes.
    pub(crate) user: String,
    pub(crate) target_user: String,
    /// How: `password`, `publickey`, …
    pub(crate) method: String,
    /// The command that was run.
    pub(crate) command: String,
    /// The whole line, as the service wrote it.
    pub(crate) message: String,

    /// Number of the request to `io_uring`.
    pub(crate) opcode: u8,
    /// Which start of the sensor says that it is there.
    pub(crate) start: u64,
    /// Counts of a tick.
    pub(crate) forks: u64,
    pub(crate) write_opens: u64,
    pub(crate) creates: u64,
    pub(crate) renames: u64,
    pub(crate) unlinks: u64,
    pub(crate) attribute_changes: u64,
}

impl Step {
    /// Returns the step with the repetition's number in its texts.
    pub(super) fn numbered(&self, n: u64) -> Self {
        let mut step = self.clone();
        let number = n.to_string();
        for text in [
            &mut step.local,
            &mut step.remote,
            &mut step.path,
            &mut step.target,
            &mut step.name,
            &mut step.query,
            &mut step.server_name,
            &mut step.user,
            &mut step.target_user,
            &mut step.command,
            &mut step.message,
        ] {
            if text.contains("{n}") {
                *text = text.replace("{n}", &number);
            }
        }
        step
    }
}
