//! What is watched unless the configuration says otherwise, and why.

use sensor_abi::file::access::{CONNECT, READ, WRITE};

/// Accesses and the patterns that they are watched for.
pub const PATTERNS: &[(u32, &[&str])] = &[
    (WRITE, ACCOUNTS),
    (WRITE, LOG_IN),
    (WRITE, STARTUP),
    (WRITE, SHELLS),
    (WRITE, LOADER),
    (WRITE, LOGS),
    (WRITE, FIREWALL),
    (WRITE, KERNEL),
    (WRITE, RUNTIMES),
    (WRITE, NAMES),
    (WRITE, SENSOR),
    (READ, SECRETS),
    (READ, CLOUD),
    (READ, BROWSERS),
    (CONNECT, SOCKETS),
];

/// A new or changed account, or a password that is not asked for any more.
const ACCOUNTS: &[&str] = &[
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/sudoers",
    "/etc/sudoers.d/",
    "/etc/doas.conf",
    "/etc/polkit-1/",
];

/// Who may log in, and what is asked of him.
const LOG_IN: &[&str] = &[
    "/etc/pam.conf",
    "/etc/pam.d/",
    "/etc/security/",
    "/etc/nsswitch.conf",
    "/etc/login.defs",
    "/etc/ssh/",
    "/etc/krb5.conf",
    "**/.ssh/",
    "**/.rhosts",
];

/// What runs by itself: at boot, at a time, at an event.
const STARTUP: &[&str] = &[
    "/etc/crontab",
    "/etc/anacrontab",
    "/etc/cron.d/",
    "/etc/cron.hourly/",
    "/etc/cron.daily/",
    "/etc/cron.weekly/",
    "/etc/cron.monthly/",
    "/var/spool/cron/",
    "/var/spool/at/",
    "/etc/systemd/",
    "/usr/lib/systemd/system/",
    "/usr/lib/systemd/system-generators/",
    "/run/systemd/system/",
    "**/.config/systemd/",
    "**/.config/autostart/",
    "/etc/xdg/autostart/",
    "/etc/init.d/",
    "/etc/rc.local",
    "/etc/rc.d/",
    "/etc/inittab",
    "/etc/udev/rules.d/",
    "/usr/lib/udev/rules.d/",
    "/etc/update-motd.d/",
    "/etc/NetworkManager/dispatcher.d/",
    "/etc/apt/apt.conf.d/",
    "/etc/dbus-1/system.d/",
];

/// What runs in everybody's next shell.
const SHELLS: &[&str] = &[
    "/etc/profile",
    "/etc/profile.d/",
    "/etc/environment",
    "/etc/bash.bashrc",
    "/etc/bashrc",
    "/etc/zsh/",
    "**/.profile",
    "**/.bashrc",
    "**/.bash_profile",
    "**/.bash_login",
    "**/.bash_logout",
    "**/.zshrc",
    "**/.zshenv",
    "**/.zprofile",
    "**/.shrc",
    "**/.kshrc",
    "**/.cshrc",
    "**/.tcshrc",
];

/// Code that is loaded into other programs or into the kernel.
const LOADER: &[&str] = &[
    "/etc/ld.so.preload",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d/",
    "/etc/modules",
    "/etc/modules-load.d/",
    "/etc/modprobe.d/",
];

/// What the host lets in and out.
const FIREWALL: &[&str] = &[
    "/etc/ufw/",
    "/etc/default/ufw",
    "/etc/iptables/",
    "/etc/nftables.conf",
    "/etc/sysconfig/iptables",
    "/etc/sysconfig/ip6tables",
    "/etc/sysconfig/nftables.conf",
    "/etc/firewalld/",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
];

/// Traces that an intruder would rather not leave.
const LOGS: &[&str] = &[
    "/var/log/auth.log",
    "/var/log/secure",
    "/var/log/syslog",
    "/var/log/messages",
    "/var/log/kern.log",
    "/var/log/cron",
    "/var/log/wtmp",
    "/var/log/btmp",
    "/var/log/lastlog",
    "/var/log/faillog",
    "/var/log/audit/",
    "/run/utmp",
    "/etc/audit/",
    "/etc/rsyslog.conf",
    "/etc/rsyslog.d/",
    "/etc/logrotate.d/",
    "**/.bash_history",
    "**/.zsh_history",
    "**/.ash_history",
];

/// Files that make the kernel run a program as root, or give away its memory.
const KERNEL: &[&str] = &[
    "**/release_agent",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/fs/binfmt_misc/",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
];

/// Programs that start containers as root on the host (CVE-2019-5736), and their settings.
const RUNTIMES: &[&str] = &[
    "**/runc",
    "**/crun",
    "**/containerd-shim-runc-v2",
    "/usr/bin/sudo",
    "/usr/bin/su",
    "/usr/sbin/sshd",
    "/etc/docker/",
    "/etc/containerd/",
    "/etc/cni/net.d/",
    "/etc/kubernetes/",
    "/var/lib/kubelet/config.yaml",
];

/// Who answers when a name is asked for, and whom the host trusts.
const NAMES: &[&str] = &[
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/usr/local/share/ca-certificates/",
    "/etc/ssl/certs/",
];

/// The sensor itself, whose own writes are not told.
const SENSOR: &[&str] = &["/etc/sakuramori/", "/var/lib/sakuramori/"];

/// Password hashes, private keys and tickets.
const SECRETS: &[&str] = &[
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/ssl/private/",
    "/etc/ssh/ssh_host_rsa_key",
    "/etc/ssh/ssh_host_ecdsa_key",
    "/etc/ssh/ssh_host_ed25519_key",
    "**/.ssh/id_*",
    "**/.ssh/*.pem",
    "**/.gnupg/private-keys-v1.d/",
    "**/.netrc",
    "**/.pgpass",
    "**/.my.cnf",
    "**/.git-credentials",
    "**/.pypirc",
    "**/.vault-token",
];

/// Credentials of clouds, clusters and registries.
const CLOUD: &[&str] = &[
    "**/.aws/credentials",
    "**/.aws/sso/cache/",
    "**/.azure/",
    "**/.config/gcloud/",
    "**/.kube/config",
    "**/.docker/config.json",
    "**/.terraform.d/credentials.tfrc.json",
    "/etc/kubernetes/",
    "/etc/rancher/k3s/k3s.yaml",
    "/var/lib/kubelet/pki/",
    "**/kubernetes.io/serviceaccount/",
];

/// Passwords and cookies that browsers keep.
const BROWSERS: &[&str] = &["**/Login Data", "**/key4.db", "**/logins.json", "**/cookies.sqlite"];

/// Whoever speaks to a container runtime is root on its host.
const SOCKETS: &[&str] = &[
    "**/docker.sock",
    "**/containerd.sock",
    "**/crio.sock",
    "**/podman.sock",
    "**/dockershim.sock",
    "**/cri-dockerd.sock",
];
