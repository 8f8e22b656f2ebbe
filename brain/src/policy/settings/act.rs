//! Settings of the detectors of acts on one host.

use std::net::IpAddr;

use serde::Deserialize;

use super::{Check, OutOfRange, within};

/// Entries of a list.
const ENTRIES_MAX: u64 = 1_000;

/// Defines settings that are lists of names, with their defaults.
macro_rules! lists {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $field:ident: [$($default:literal),* $(,)?],)*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: Vec<String>,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: [$($default),*].map(str::to_owned).to_vec(),)* }
            }
        }

        impl Check for $name {
            fn check(&self) -> Result<(), OutOfRange> {
                $(within(
                    concat!(stringify!($field), " (entries)"),
                    self.$field.len() as u64,
                    0,
                    ENTRIES_MAX,
                )?;)*
                Ok(())
            }
        }
    )*};
}

lists! {
    /// See [`crate::detect::injection`].
    pub struct Injection {
        /// Names of programs that look into other processes as their work.
        debuggers: [
            "gdb", "gdbserver", "lldb", "lldb-server", "strace", "ltrace", "rr", "dlv", "criu",
            "valgrind", "perf", "uftrace", "wineserver", "systemd-coredump", "reptyr",
        ],
    }

    /// See [`crate::detect::anti_debug`].
    pub struct AntiDebug {
        /// Names of programs whose children ask to be traced because they will be.
        tracers: [
            "gdb", "gdbserver", "lldb", "lldb-server", "strace", "ltrace", "rr", "dlv", "proot",
            "fakechroot", "uml", "runsc", "catchsegv",
        ],
    }

    /// See [`crate::detect::container_escape`].
    pub struct ContainerEscape {
        /// Names of programs that set a container up from inside its cgroup.
        runtimes: ["runc", "crun", "youki", "runsc", "conmon", "kata-runtime", "lxc-start"],
        /// Paths of programs on the host that start containers.
        runtime_files: ["**/runc", "**/crun", "**/containerd-shim-runc-v2"],
        /// Files through which the kernel runs a program as root outside of any container.
        kernel_files: [
            "**/release_agent", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
            "/proc/sys/kernel/hotplug", "/proc/sys/fs/binfmt_misc/register",
            "/sys/kernel/uevent_helper",
        ],
    }

    /// See [`crate::detect::runtime_socket`].
    pub struct RuntimeSocket {
        /// Sockets of container runtimes.
        sockets: [
            "**/docker.sock", "**/containerd.sock", "**/crio.sock", "**/podman.sock",
            "**/dockershim.sock", "**/cri-dockerd.sock",
        ],
        /// Names of programs in containers that manage containers on purpose.
        managers: [],
    }

    /// See [`crate::detect::userfault`].
    pub struct Userfault {
        /// Names of programs that handle page faults of their own memory on purpose.
        expected: ["qemu-system-x86_64", "qemu-system-aarch64", "qemu-kvm", "criu", "firecracker",
            "cloud-hypervisor"],
    }

    /// See [`crate::detect::elevation`].
    pub struct Elevation {
        /// Names of programs that packages install setuid root.
        setuid_programs: [
            "sudo", "su", "doas", "passwd", "chsh", "chfn", "chage", "gpasswd", "newgrp", "sg",
            "expiry", "mount", "umount", "fusermount", "fusermount3", "ntfs-3g", "pkexec",
            "polkit-agent-helper-1", "dbus-daemon-launch-helper", "ssh-keysign", "unix_chkpwd",
            "pam_timestamp_check", "ping", "ping6", "traceroute6.iputils", "mtr-packet", "at",
            "crontab", "newuidmap", "newgidmap", "exim4", "sendmail", "procmail", "maildrop",
            "Xorg.wrap", "snap-confine", "chrome-sandbox", "chromium-sandbox", "bwrap",
            "firejail", "vmware-user-suid-wrapper", "VBoxHeadless", "pppd", "mount.nfs",
            "mount.cifs", "userhelper", "usernetctl", "ksu", "suexec", "cgi-suexec",
            "sensible-mda", "lxc-user-nic", "staprun", "dumpcap", "utempter", "sshd",
            "sshd-session", "login", "cron", "crond", "atd", "systemd", "init", "runuser",
        ],
    }

    /// See [`crate::detect::uring_bypass`].
    pub struct UringBypass {
        /// Names of programs that are known to use io_uring.
        expected: [
            "qemu-system-x86_64", "qemu-system-aarch64", "qemu-kvm", "postgres", "mariadbd",
            "mysqld", "scylla", "ceph-osd", "fio", "smbd", "nginx", "node", "rocksdb",
            "tigerbeetle", "redpanda", "seastar", "envoy", "glusterfsd", "systemd-nspawn",
        ],
    }

    /// See [`crate::detect::bpf_program`].
    pub struct BpfProgram {
        /// Names of programs that load BPF programs as their work.
        loaders: [
            "systemd", "systemd-networkd", "systemd-resolved", "systemd-oomd", "runc", "crun", "dockerd",
            "containerd", "containerd-shim-runc-v2", "podman", "conmon", "cilium-agent",
            "tetragon", "falco", "sakuramori-sensor", "calico-node", "felix", "ip", "tc",
            "NetworkManager", "lxd", "snapd", "snap-confine", "udevd", "systemd-udevd", "xdpd",
            "libvirtd", "virtqemud", "node_exporter", "parca-agent", "pyroscope", "ebpf_exporter",
            "suricata", "irqbalance", "kepler", "pixie", "beyla", "datadog-agent",
            "system-probe", "elastic-agent", "osqueryd",
        ],
        /// Names of tools with which people look at a host.
        tools: ["bpftool", "bpftrace", "perf", "tcpdump", "trace-cmd", "stap"],
    }

    /// See [`crate::detect::preload`].
    pub struct Preload {
        /// Folders in which a library that is loaded into other programs has no business.
        folders: ["/tmp/", "/var/tmp/", "/dev/shm/", "/run/user/", "/home/"],
    }

    /// See [`crate::detect::listed_name`].
    pub struct ListedName {
        /// Names of programs that ask for listed names to learn whether they are listed.
        lookers: [],
    }

    /// See [`crate::detect::listed_file`].
    pub struct ListedFile {
        /// Names of programs that are listed but run on purpose.
        expected: [],
    }

    /// See [`crate::detect::new_binary`].
    pub struct NewBinary {
        /// Names of programs that are written into containers while they run, on purpose.
        expected: [],
    }

    /// See [`crate::detect::persistence_command`].
    pub struct PersistenceCommand {
        /// Names of groups whose members can become root.
        groups: ["sudo", "wheel", "root", "docker", "lxd", "admin", "adm", "disk", "shadow"],
    }
}

/// See [`crate::detect::metadata_rebind`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataRebind {
    /// Addresses at which clouds serve credentials.
    pub addresses: Vec<IpAddr>,
    /// Names that clouds themselves give these addresses.
    pub own_names: Vec<String>,
}

impl Default for MetadataRebind {
    fn default() -> Self {
        let addresses = [
            IpAddr::from([169, 254, 169, 254]),
            IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]),
            IpAddr::from([169, 254, 170, 2]),
            IpAddr::from([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]),
            IpAddr::from([100, 100, 100, 200]),
        ];
        let own_names = [
            "metadata.google.internal",
            "metadata.goog",
            "metadata",
            "instance-data",
            "instance-data.ec2.internal",
            "metadata.azure.internal",
            "metadata.tencentyun.com",
        ];
        let own_names = own_names.map(str::to_owned).to_vec();
        Self { addresses: addresses.to_vec(), own_names }
    }
}

impl Check for MetadataRebind {
    fn check(&self) -> Result<(), OutOfRange> {
        within("addresses (entries)", self.addresses.len() as u64, 1, ENTRIES_MAX)?;
        within("own_names (entries)", self.own_names.len() as u64, 0, ENTRIES_MAX)
    }
}

/// See [`crate::detect::sensitive_file`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensitiveFile {
    /// Files that give rights, and the programs that write them as their work.
    pub privilege: FileGroup,
    /// Files that let somebody come back.
    pub persistence: FileGroup,
    /// Files that keep traces.
    pub evasion: FileGroup,
}

/// See [`crate::detect::sensitive_read`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SensitiveRead {
    /// Password hashes.
    pub passwords: FileGroup,
    /// Private keys and tickets.
    pub keys: FileGroup,
    /// Credentials of clouds, clusters and registries.
    pub cloud: FileGroup,
    /// What browsers keep.
    pub browsers: FileGroup,
}

/// Files and who touches them as his work.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FileGroup {
    /// The files.
    pub paths: Vec<String>,
    /// Names of programs.
    pub programs: Vec<String>,
}

impl FileGroup {
    fn check(&self) -> Result<(), OutOfRange> {
        // A group without a file would silently find nothing.
        within("paths (entries)", self.paths.len() as u64, 1, ENTRIES_MAX)?;
        within("programs (entries)", self.programs.len() as u64, 0, ENTRIES_MAX)
    }
}

impl Check for SensitiveFile {
    fn check(&self) -> Result<(), OutOfRange> {
        [&self.privilege, &self.persistence, &self.evasion].into_iter().try_for_each(|g| g.check())
    }
}

impl Check for SensitiveRead {
    fn check(&self) -> Result<(), OutOfRange> {
        [&self.passwords, &self.keys, &self.cloud, &self.browsers]
            .into_iter()
            .try_for_each(|group| group.check())
    }
}

/// See [`crate::detect::ransomware`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ransomware {
    /// Files rewritten and renamed, or copied and removed, by one process tree that make a finding.
    /// A person's own work stays at a few; a package or an archive comes with its own program.
    pub files: u64,
    /// Time in which they count together.
    pub window_s: u64,
    /// Names of programs that write many files at once as their work.
    pub expected: Vec<String>,
}

impl Default for Ransomware {
    fn default() -> Self {
        let expected = [
            "rsync",
            "git",
            "tar",
            "unzip",
            "restic",
            "borg",
            "rclone",
            "duplicity",
            "postgres",
            "mysqld",
            "mariadbd",
            "mongod",
            "dockerd",
            "containerd",
            "logrotate",
            "updatedb",
            "ccache",
            "syncthing",
            "dovecot",
            "master",
            "systemd-journald",
            "prometheus",
        ];
        Self { files: 60, window_s: 60, expected: expected.map(str::to_owned).to_vec() }
    }
}

impl Check for Ransomware {
    fn check(&self) -> Result<(), OutOfRange> {
        within("files", self.files, 10, 100_000)?;
        within("window_s", self.window_s, 1, 3_600)?;
        within("expected (entries)", self.expected.len() as u64, 0, ENTRIES_MAX)
    }
}

/// See [`crate::detect::service_shell`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceShell {
    /// How often a service must have run the same command before it counts as its habit.
    pub habit: u32,
    /// How far apart the first and the last of these must be.
    pub habit_s: u64,
    /// Commands that fetch tools, call out or open doors.
    pub commands: Vec<String>,
    /// Commands with which somebody looks around; services use one or another of them as well.
    pub questions: Vec<String>,
    /// Names of programs and scripts that give people a shell by design.
    pub by_design: Vec<String>,
}

impl Default for ServiceShell {
    fn default() -> Self {
        let commands = [
            "wget",
            "curl",
            "fetch",
            "nc",
            "ncat",
            "netcat",
            "socat",
            "telnet",
            "chattr",
            "base64",
            "nohup",
            "setsid",
            "bash",
            "busybox",
            "useradd",
            "adduser",
            "passwd",
            "mkfifo",
            "crontab",
            "sudo",
            "nmap",
            "tcpdump",
            "xxd",
            "getcap",
            "ssh-keygen",
        ];
        let questions = [
            "id", "whoami", "uname", "hostname", "pwd", "ps", "w", "who", "last", "ifconfig", "ip",
            "ss", "netstat", "arp", "route", "env", "printenv", "find", "lscpu", "lsblk", "mount",
            "dmesg", "groups", "cat", "ls", "python", "python3", "perl", "chmod",
        ];
        let by_design = [
            "sshd",
            "sshd-session",
            "dropbear",
            "in.telnetd",
            "telnetd",
            "inetd",
            "xinetd",
            "systemd",
            "cron",
            "crond",
            "containerd-shim-runc-v2",
            "dockerd",
            "containerd",
            "kubelet",
            "conmon",
            "jupyter",
            "jupyter-lab",
            "jupyter-notebook",
            "code-server",
            "gitlab-runner",
            "jenkins",
            "ttyd",
            "wetty",
            "cockpit-bridge",
            "tmux",
            "screen",
            "agetty",
            "login",
            "amazon-ssm-agent",
            "ssm-session-worker",
        ];
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            habit: 3,
            habit_s: 600,
            commands: names(&commands),
            questions: names(&questions),
            by_design: names(&by_design),
        }
    }
}

impl Check for ServiceShell {
    fn check(&self) -> Result<(), OutOfRange> {
        within("habit", self.habit.into(), 2, 1_000)?;
        within("habit_s", self.habit_s, 1, 3_600)?;
        within("commands (entries)", self.commands.len() as u64, 1, ENTRIES_MAX)?;
        within("questions (entries)", self.questions.len() as u64, 0, ENTRIES_MAX)?;
        within("by_design (entries)", self.by_design.len() as u64, 0, ENTRIES_MAX)
    }
}

/// See [`crate::detect::recon_burst`].
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReconBurst {
    /// Different questions about the host that make a finding where nobody should ask: below a
    /// service, in a service's account, in a container, on a reverse shell.
    pub distinct_odd: u32,
    /// The same for everybody else who is not at a terminal after a log-in.
    pub distinct: u32,
    /// Time in which they count together.
    pub window_s: u64,
}

impl Default for ReconBurst {
    fn default() -> Self {
        Self { distinct_odd: 4, distinct: 7, window_s: 120 }
    }
}

impl Check for ReconBurst {
    fn check(&self) -> Result<(), OutOfRange> {
        within("distinct_odd", self.distinct_odd.into(), 2, 16)?;
        within("distinct", self.distinct.into(), 2, 16)?;
        within("window_s", self.window_s, 1, 3_600)
    }
}
