//! The processes of a host, with the names that servers have.

use std::rc::Rc;

use sensor::process::{Key, Process};

use super::chance::Chance;
use super::text;

/// A service: name of its user, user id, cgroup, path, task name, arguments.
type Service =
    (&'static str, u32, &'static str, &'static str, &'static str, &'static [&'static str]);

const INIT: &str = "/usr/lib/systemd/systemd";

/// What runs for as long as the host is up.
const SERVICES: [Service; 12] = [
    (
        "root",
        0,
        "/system.slice/ssh.service",
        "/usr/sbin/sshd",
        "sshd",
        &["sshd: /usr/sbin/sshd -D"],
    ),
    ("root", 0, "/system.slice/cron.service", "/usr/sbin/cron", "cron", &["/usr/sbin/cron", "-f"]),
    (
        "www-data",
        33,
        "/system.slice/nginx.service",
        "/usr/sbin/nginx",
        "nginx",
        &["nginx: worker process"],
    ),
    (
        "www-data",
        33,
        "/system.slice/php8.2-fpm.service",
        "/usr/sbin/php-fpm8.2",
        "php-fpm8.2",
        &["php-fpm: pool www"],
    ),
    (
        "postgres",
        108,
        "/system.slice/system-postgresql.slice/postgresql@15-main.service",
        "/usr/lib/postgresql/15/bin/postgres",
        "postgres",
        &[
            "/usr/lib/postgresql/15/bin/postgres",
            "-D",
            "/var/lib/postgresql/15/main",
            "-c",
            "config_file=/etc/postgresql/15/main/postgresql.conf",
        ],
    ),
    (
        "redis",
        109,
        "/system.slice/redis-server.service",
        "/usr/bin/redis-check-rdb",
        "redis-server",
        &["/usr/bin/redis-server 127.0.0.1:6379"],
    ),
    (
        "root",
        0,
        "/system.slice/docker.service",
        "/usr/bin/dockerd",
        "dockerd",
        &["/usr/bin/dockerd", "-H", "fd://", "--containerd=/run/containerd/containerd.sock"],
    ),
    (
        "_chrony",
        110,
        "/system.slice/chrony.service",
        "/usr/sbin/chronyd",
        "chronyd",
        &["/usr/sbin/chronyd", "-F", "1"],
    ),
    (
        "systemd-resolve",
        996,
        "/system.slice/systemd-resolved.service",
        "/usr/lib/systemd/systemd-resolved",
        "systemd-resolve",
        &["/lib/systemd/systemd-resolved"],
    ),
    (
        "prometheus",
        111,
        "/system.slice/prometheus-node-exporter.service",
        "/usr/bin/prometheus-node-exporter",
        "prometheus-node",
        &["/usr/bin/prometheus-node-exporter", "--collector.systemd"],
    ),
    (
        "",
        1000,
        "/system.slice/docker-",
        "/usr/local/bin/node",
        "node",
        &["node", "/app/server.js", "--max-old-space-size=512"],
    ),
    (
        "",
        999,
        "/system.slice/docker-",
        "/usr/bin/python3.11",
        "celery",
        &[
            "/usr/local/bin/python",
            "/usr/local/bin/celery",
            "-A",
            "shop",
            "worker",
            "--loglevel=INFO",
            "--concurrency=4",
        ],
    ),
];

/// What is executed again and again: path, arguments.
const COMMANDS: [(&str, &[&str]); 16] = [
    (
        "/usr/bin/dash",
        &["/bin/sh", "-c", "[ -x /usr/lib/php/sessionclean ] && /usr/lib/php/sessionclean"],
    ),
    ("/usr/bin/curl", &["curl", "-fsS", "-m", "5", "http://127.0.0.1:8080/healthz"]),
    ("/usr/bin/pg_isready", &["pg_isready", "-U", "shop", "-d", "shop", "-q"]),
    ("/usr/bin/find", &["find", "/var/lib/php/sessions", "-type", "f", "-mmin", "+24", "-delete"]),
    ("/usr/bin/gzip", &["gzip", "-9", "/var/backups/shop/dump.sql"]),
    (
        "/usr/bin/pg_dump",
        &["pg_dump", "--format=custom", "--file=/var/backups/shop/dump.pgc", "shop"],
    ),
    ("/usr/sbin/logrotate", &["/usr/sbin/logrotate", "/etc/logrotate.conf"]),
    ("/usr/bin/git", &["git", "-C", "/srv/shop", "rev-parse", "--short", "HEAD"]),
    ("/usr/bin/ls", &["ls", "--color=auto", "-la", "/srv/shop/releases"]),
    ("/usr/bin/cat", &["cat", "/proc/loadavg"]),
    ("/usr/bin/df", &["df", "-P", "-x", "tmpfs", "-x", "devtmpfs"]),
    ("/usr/bin/systemctl", &["systemctl", "is-active", "nginx.service"]),
    (
        "/usr/bin/python3.11",
        &["python3", "/usr/local/bin/report.py", "--since", "1h", "--output", "/tmp/report.json"],
    ),
    (
        "/usr/bin/runc",
        &[
            "runc",
            "--root",
            "/var/run/docker/runtime-runc/moby",
            "exec",
            "--process",
            "/tmp/runc-process",
        ],
    ),
    ("/usr/bin/apt-get", &["apt-get", "-qq", "-y", "update"]),
    ("/usr/bin/grep", &["grep", "-c", "ERROR", "/var/log/shop/app.log"]),
];

/// What a host runs.
#[derive(Debug)]
pub(super) struct Life {
    init: Rc<Process>,
    services: Vec<Rc<Process>>,
    hashes: Vec<[u8; 32]>,
    next_pid: u32,
}

impl Life {
    pub(super) fn new(chance: &mut Chance, uptime_ns: u64) -> Self {
        // Hosts of a fleet run the same programs: hashes and inodes follow from the path.
        let hashes: Vec<[u8; 32]> =
            (0..COMMANDS.len() as u64).map(|program| Chance::new(program + 1).bytes()).collect();
        let init = image(Key::new(1, 10_000_000), None, INIT, "systemd", &["/sbin/init"]);
        let init = Rc::new(Process { cgroup: text("/init.scope"), ..init });
        let mut life = Self { init, services: Vec::new(), hashes, next_pid: 0 };
        life.next_pid = chance.between(20_000, 400_000) as u32;
        for (number, service) in SERVICES.iter().enumerate() {
            let pid = 600 + 40 * number as u32 + chance.below(40) as u32;
            let begun = chance.below(uptime_ns);
            let process = life.service(chance, service, Key::new(pid, begun));
            life.services.push(Rc::new(process));
        }
        life
    }

    fn service(&self, chance: &mut Chance, service: &Service, key: Key) -> Process {
        let (user, uid, cgroup, exe, comm, args) = *service;
        let mut process = image(key, Some(&self.init), exe, comm, args);
        (process.uid, process.euid, process.gid) = (uid, uid, uid);
        process.user = text(user);
        process.cgroup = text(cgroup);
        if cgroup.ends_with('-') {
            let container: String =
                chance.bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect();
            process.cgroup = text(format!("{cgroup}{container}.scope"));
            process.container = text(&container[..12]);
            process.namespace_pid = 1;
            process.namespaces = [4_026_532_300, 4_026_532_297, 4_026_532_302, 4_026_531_837];
            process.capabilities = 0xa804_25fb;
        }
        process
    }

    /// A service with its ancestors, nearest first.
    pub(super) fn service_lineage(&self, chance: &mut Chance) -> Vec<Rc<Process>> {
        vec![Rc::clone(chance.pick(&self.services)), Rc::clone(&self.init)]
    }

    /// The web server, and the service behind it.
    pub(super) fn server(&self, port: u16) -> Vec<Rc<Process>> {
        let service = match port {
            443 | 80 => 2,
            5432 => 4,
            6379 => 5,
            22 => 0,
            _ => 10,
        };
        vec![Rc::clone(&self.services[service]), Rc::clone(&self.init)]
    }

    /// A command that cron or a shell of a person has just executed, with its ancestors.
    pub(super) fn command(&mut self, chance: &mut Chance, boot_ns: u64) -> Vec<Rc<Process>> {
        let starter = Rc::clone(&self.services[chance.below(2) as usize]);
        let (shell, script): (&str, &[&str]) = match chance.below(2) {
            0 => ("bash", &["-bash"]),
            _ => ("sh", &["/bin/sh", "-c", "/usr/local/sbin/watch-shop >/dev/null 2>&1"]),
        };
        let shell =
            image(self.new_key(chance, boot_ns), Some(&starter), "/usr/bin/bash", shell, script);
        let shell = Rc::new(session(shell, chance));
        let number = chance.below(COMMANDS.len() as u64) as usize;
        let (exe, args) = COMMANDS[number];
        let comm = exe.rsplit('/').next().unwrap_or(exe);
        let mut command = image(self.new_key(chance, boot_ns), Some(&shell), exe, comm, args);
        command.cgroup = Rc::clone(&shell.cgroup);
        command.sha256 = text(self.hashes[number]);
        (command.login_uid, command.session) = (shell.login_uid, shell.session);
        vec![Rc::new(command), shell, starter, Rc::clone(&self.init)]
    }

    fn new_key(&mut self, chance: &mut Chance, boot_ns: u64) -> Key {
        self.next_pid += 1 + chance.below(3) as u32;
        Key::new(self.next_pid, boot_ns)
    }
}

fn session(mut shell: Process, chance: &mut Chance) -> Process {
    let session = chance.between(1, 900) as u32;
    shell.session = session + 1;
    shell.login_uid = 1_001;
    shell.cgroup = text(format!("/user.slice/user-1000.slice/session-{session}.scope"));
    shell.tty = text(format!("pts/{}", chance.below(6)));
    shell.cwd = text("/home/deploy");
    shell
}

fn image(key: Key, parent: Option<&Process>, exe: &str, comm: &str, args: &[&str]) -> Process {
    // Inodes follow from the path, as on hosts that were installed from one image.
    let inode = exe.bytes().fold(7_u64, |sum, byte| sum * 31 + u64::from(byte)) % 9_000_000;
    let arguments: String = args.iter().flat_map(|part| [part, "\0"]).collect();
    Process {
        key,
        parent: parent.map(|parent| parent.key),
        exe: text(exe),
        comm: text(comm),
        args: text(arguments),
        user: text("root"),
        cwd: text("/"),
        sha256: text(Chance::new(inode).bytes::<32>()),
        capabilities: 0x1ff_ffff_ffff,
        exe_inode: inode,
        exe_dev: 0x0080_0001,
        namespaces: [4_026_531_836, 4_026_531_841, 4_026_531_840, 4_026_531_837],
        ..Process::default()
    }
}
