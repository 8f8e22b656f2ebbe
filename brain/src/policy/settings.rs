//! Settings of the built-in detectors, with defaults that are defended here and limits that keep a
//! mistyped number from switching a detector off or filling memory.

use std::sync::Arc;

use serde::Deserialize;

use crate::detect::sigma::Placeholders;
use crate::finding::PolicyRef;

mod act;

pub use act::*;

/// A detector's settings and the file that they come from.
#[derive(Clone, Debug)]
pub struct Active<T> {
    /// The values.
    pub settings: T,
    /// The file.
    pub policy: Arc<PolicyRef>,
}

/// Settings of all detectors; `None` switches one off.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Scans and sweeps.
    pub port_scan: Option<Active<PortScan>>,
    /// Reverse shells.
    pub reverse_shell: Option<Active<ReverseShell>>,
    /// Programs without a file.
    pub fileless: Option<Active<Fileless>>,
    /// Kernel modules.
    pub kernel_module: Option<Active<KernelModule>>,
    /// Traffic with listed addresses.
    pub listed_address: Option<Active<ListedAddress>>,
    /// Listed names.
    pub listed_name: Option<Active<ListedName>>,
    /// Listed files.
    pub listed_file: Option<Active<ListedFile>>,
    /// Programs that ask to be traced.
    pub anti_debug: Option<Active<AntiDebug>>,
    /// BPF programs.
    pub bpf_program: Option<Active<BpfProgram>>,
    /// Ways out of containers.
    pub container_escape: Option<Active<ContainerEscape>>,
    /// Ways to root.
    pub elevation: Option<Active<Elevation>>,
    /// Memory of others.
    pub injection: Option<Active<Injection>>,
    /// Names of the metadata service.
    pub metadata_rebind: Option<Active<MetadataRebind>>,
    /// New files in containers.
    pub new_binary: Option<Active<NewBinary>>,
    /// Commands that let somebody come back.
    pub persistence_command: Option<Active<PersistenceCommand>>,
    /// Libraries put before others.
    pub preload: Option<Active<Preload>>,
    /// Files rewritten at once.
    pub ransomware: Option<Active<Ransomware>>,
    /// Questions about the host.
    pub recon_burst: Option<Active<ReconBurst>>,
    /// Sockets of container runtimes.
    pub runtime_socket: Option<Active<RuntimeSocket>>,
    /// Changed files.
    pub sensitive_file: Option<Active<SensitiveFile>>,
    /// Secrets that are read.
    pub sensitive_read: Option<Active<SensitiveRead>>,
    /// Sensors that share an identity.
    pub shared_identity: Option<Active<SharedIdentity>>,
    /// Shells below services.
    pub service_shell: Option<Active<ServiceShell>>,
    /// Work through io_uring.
    pub uring_bypass: Option<Active<UringBypass>>,
    /// `userfaultfd`.
    pub userfault: Option<Active<Userfault>>,
    /// Files that rules matched.
    pub malware: Option<Active<Malware>>,
    /// Sigma rules.
    pub sigma: Option<Active<Sigma>>,
}

/// A setting's value is out of its range.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfRange {
    /// The setting.
    pub name: &'static str,
    /// Its lowest value.
    pub min: u64,
    /// Its highest.
    pub max: u64,
}

/// What all settings can do: say whether each number is in its range.
pub(super) trait Check {
    fn check(&self) -> Result<(), OutOfRange>;
}

fn within(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), OutOfRange> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(OutOfRange { name, min, max }) }
}

/// See [`crate::detect::port_scan`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PortScan {
    /// Distinct ports of one address, probed in vain, that make a scan. A client that retries a
    /// service that is down stays at a handful.
    pub distinct_ports: u32,
    /// Distinct addresses, probed in vain on one port, that make a sweep.
    pub distinct_addresses: u32,
    /// Distinct UDP ports; more than for TCP, since silence is normal there.
    pub distinct_udp_ports: u32,
    /// Time in which they count together.
    pub window_s: u64,
    /// How long a probe may wait for an answer before it counts as unanswered.
    pub settle_ms: u64,
}

impl Default for PortScan {
    fn default() -> Self {
        Self {
            distinct_ports: 20,
            distinct_addresses: 30,
            distinct_udp_ports: 50,
            window_s: 60,
            settle_ms: 2_000,
        }
    }
}

impl Check for PortScan {
    fn check(&self) -> Result<(), OutOfRange> {
        within("distinct_ports", self.distinct_ports.into(), 3, 256)?;
        within("distinct_addresses", self.distinct_addresses.into(), 3, 256)?;
        within("distinct_udp_ports", self.distinct_udp_ports.into(), 3, 256)?;
        within("window_s", self.window_s, 1, 3_600)?;
        within("settle_ms", self.settle_ms, 0, 60_000)
    }
}

/// See [`crate::detect::shared_identity`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedIdentity {
    /// How often a start of the sensor has to come back after another one.
    pub returns: u32,
}

impl Default for SharedIdentity {
    fn default() -> Self {
        Self { returns: 1 }
    }
}

impl Check for SharedIdentity {
    fn check(&self) -> Result<(), OutOfRange> {
        within("returns", self.returns.into(), 1, 100)
    }
}

/// See [`crate::detect::reverse_shell`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReverseShell {
    /// Names of executables that start an interactive shell while they hold a connection, by
    /// design.
    pub benign_parents: Vec<String>,
    /// Names of executables that hand an accepted connection to a program, by design.
    pub inetd_parents: Vec<String>,
    /// How far apart a shell and the connection beside it may start.
    pub join_slack_ms: u64,
}

impl Default for ReverseShell {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            benign_parents: names(&[
                "ssh",
                "sftp",
                "psql",
                "mysql",
                "mariadb",
                "redis-cli",
                "vi",
                "vim",
                "nvim",
                "emacs",
                "less",
                "lftp",
                "ftp",
                "mutt",
                "sshd",
                "sshd-session",
                "ssm-session-worker",
                "login",
                "su",
                "sudo",
                "runuser",
            ]),
            inetd_parents: names(&["inetd", "xinetd", "systemd", "tcpserver", "s6-tcpserver"]),
            join_slack_ms: 5_000,
        }
    }
}

impl Check for ReverseShell {
    fn check(&self) -> Result<(), OutOfRange> {
        within("benign_parents (entries)", self.benign_parents.len() as u64, 0, 1_000)?;
        within("inetd_parents (entries)", self.inetd_parents.len() as u64, 0, 1_000)?;
        within("join_slack_ms", self.join_slack_ms, 0, 60_000)
    }
}

/// See [`crate::detect::fileless`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fileless {
    /// Names of container runtimes that execute a sealed copy of themselves from memory.
    pub runtimes: Vec<String>,
    /// Folders in which such a runtime must lie for its name to count.
    pub runtime_folders: Vec<String>,
    /// Folders that packages install to; a program from there may run again after an upgrade has
    /// removed its file.
    pub package_folders: Vec<String>,
}

impl Default for Fileless {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            runtimes: names(&["runc", "crun", "youki", "podman", "conmon", "buildah"]),
            runtime_folders: names(&[
                "/usr/",
                "/bin/",
                "/sbin/",
                "/opt/",
                "/snap/",
                "/nix/store/",
                "/var/lib/rancher/",
            ]),
            package_folders: names(&["/usr/", "/bin/", "/sbin/", "/lib/", "/opt/", "/snap/"]),
        }
    }
}

impl Check for Fileless {
    fn check(&self) -> Result<(), OutOfRange> {
        within("runtimes (entries)", self.runtimes.len() as u64, 0, 1_000)?;
        within("runtime_folders (entries)", self.runtime_folders.len() as u64, 0, 1_000)?;
        within("package_folders (entries)", self.package_folders.len() as u64, 0, 1_000)
    }
}

/// See [`crate::detect::kernel_module`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KernelModule {
    /// Names of executables that load modules as the system's own work.
    pub system_loaders: Vec<String>,
}

impl Default for KernelModule {
    fn default() -> Self {
        let names = ["systemd-modules-load", "systemd-udevd", "udevd", "kthreadd"];
        Self { system_loaders: names.map(str::to_owned).to_vec() }
    }
}

impl Check for KernelModule {
    fn check(&self) -> Result<(), OutOfRange> {
        within("system_loaders (entries)", self.system_loaders.len() as u64, 0, 1_000)
    }
}

/// See [`crate::detect::listed_address`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListedAddress {
    /// How long packets without a known process wait for a record that names it.
    pub process_wait_ms: u64,
}

impl Default for ListedAddress {
    fn default() -> Self {
        Self { process_wait_ms: 3_000 }
    }
}

impl Check for ListedAddress {
    fn check(&self) -> Result<(), OutOfRange> {
        within("process_wait_ms", self.process_wait_ms, 0, 60_000)
    }
}

/// See [`crate::detect::malware`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Malware {
    /// Names of rules that make no findings.
    pub disabled_rules: Vec<String>,
    /// Lowest `score` in a rule's `meta` that means malware; below it is a tool.
    pub malicious_score: u32,
}

impl Default for Malware {
    fn default() -> Self {
        // Collections with scores write that 75 and above is meant to be acted on.
        Self { disabled_rules: Vec::new(), malicious_score: 75 }
    }
}

impl Check for Malware {
    fn check(&self) -> Result<(), OutOfRange> {
        within("disabled_rules (entries)", self.disabled_rules.len() as u64, 0, 10_000)?;
        within("malicious_score", self.malicious_score.into(), 0, 100)
    }
}

/// See [`crate::detect::sigma`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sigma {
    /// Ids of rules that are switched off.
    pub disabled_rules: Vec<String>,
    /// What `%name%` stands for in rules that have the modifier `expand`.
    pub placeholders: Placeholders,
}

impl Check for Sigma {
    fn check(&self) -> Result<(), OutOfRange> {
        within("disabled_rules (entries)", self.disabled_rules.len() as u64, 0, 10_000)?;
        let values = self.placeholders.values().map(Vec::len).sum::<usize>();
        within("placeholders (values)", values as u64, 0, 10_000)
    }
}
