//! What a host tells at once: executions and what deserves a look.

use sensor::ledger::Signal;
use sensor::observation::{Observation, Record};
use wire::record::{
    CredentialChange, Credentials, Exec, Exit, File, Inventory, Login, Memory, Privilege, Scan,
    Stdio, file_action, inventory_change, inventory_kind, login_action, memory_action,
    privilege_action, scan_trigger, stdio_kind,
};

use super::{Host, Second, seen, text};

/// Watched files that are written or read now and then.
const FILES: [(u8, &str); 8] = [
    (file_action::OPEN_READ, "/etc/shadow"),
    (file_action::OPEN_WRITE, "/etc/hosts"),
    (file_action::CREATE, "/etc/cron.d/shop-report"),
    (file_action::OPEN_WRITE, "/home/deploy/.ssh/authorized_keys"),
    (file_action::MAP_CODE, "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"),
    (file_action::CREATE, "/srv/shop/releases/20261130-0812/vendor/autoload.php"),
    (file_action::UNLINK, "/var/log/shop/app.log.7.gz"),
    (file_action::RENAME, "/etc/systemd/system/shop.service.tmp"),
];

const PACKAGES: [(&str, &str); 8] = [
    ("openssl", "3.0.17-1~deb12u3"),
    ("libssl3", "3.0.17-1~deb12u3"),
    ("nginx", "1.22.1-9+deb12u2"),
    ("postgresql-15", "15.13-0+deb12u1"),
    ("linux-image-6.1.0-37-amd64", "6.1.140-1"),
    ("python3.11-minimal", "3.11.2-6+deb12u6"),
    ("libsystemd0", "252.38-1~deb12u1"),
    ("openssh-server", "1:9.2p1-2+deb12u7"),
];

impl Host {
    pub(super) fn security(&mut self, second: &mut Second) {
        for _ in 0..self.count(0.6) {
            self.execution(second);
        }
        if self.chance.one_in(6) {
            self.log_in(second);
        }
        if self.chance.one_in(10) {
            self.memory(second);
        }
        if self.chance.one_in(8) {
            self.privilege(second);
        }
        if self.chance.one_in(60) {
            self.scan(second);
        }
        if self.second == 0 {
            self.packages(second);
        }
    }

    fn execution(&mut self, second: &mut Second) {
        let (time_ns, boot_ns) = (self.moment(), self.clock().boot_ns);
        let lineage = self.life.command(&mut self.chance, boot_ns);
        let kinds = [stdio_kind::DEVICE, stdio_kind::PIPE, stdio_kind::PIPE];
        let stdio = kinds.map(|kind| Stdio { kind, ..Stdio::default() });
        let exec = Exec { time_ns, stdio, ..Exec::default() };
        let mut act = vec![seen(Signal::Exec, lineage.clone(), Record::Exec(exec))];
        for _ in 0..self.chance.below(3) {
            let (action, path) = *self.chance.pick(&FILES);
            let renamed =
                if action == file_action::RENAME { "/etc/systemd/system/shop.service" } else { "" };
            let record = File {
                time_ns: time_ns + self.chance.size(40_000),
                action,
                inode: self.chance.between(100_000, 900_000),
                dev: 0x0080_0001,
                open_flags: if action == file_action::OPEN_WRITE { 0x8241 } else { 0x8000 },
                mode: 0o100_644,
                path: text(path),
                target: text(renamed),
                ..File::default()
            };
            act.push(seen(Signal::File, lineage.clone(), Record::File(record)));
        }
        second.acts.push(act);
        let duration_ns = self.chance.size(400_000);
        let exit = Exit { time_ns: time_ns + duration_ns, duration_ns, ..Exit::default() };
        second.bulk.push(seen(Signal::Exit, lineage, Record::Exit(exit)));
    }

    fn log_in(&mut self, second: &mut Second) {
        let [a, b, c, d] = self.chance.bytes::<4>();
        let (from, pid) = (format!("{a}.{b}.{c}.{d}"), self.chance.between(20_000, 400_000));
        let port = self.chance.between(32_768, 61_000) as u16;
        let user = *self.chance.pick(&["root", "admin", "deploy", "ubuntu", "postgres", "git"]);
        let record = Login {
            time_ns: self.moment(),
            action: login_action::FAILED,
            count: 1,
            pid: pid as u32,
            remote: std::net::IpAddr::from([a, b, c, d]).into(),
            remote_port: port,
            service: text("sshd"),
            user: text(user),
            method: text("password"),
            remote_name: text(&from),
            message: text(format!("Failed password for {user} from {from} port {port} ssh2")),
            key: text(""),
            target_user: text(""),
            tty: text(""),
            command: text(""),
            cwd: text(""),
            detail: text(""),
            ..Login::default()
        };
        second.acts.push(vec![seen(Signal::Login, self.life.server(22), Record::Login(record))]);
    }

    fn memory(&mut self, second: &mut Second) {
        let lineage = self.life.server(8080);
        let record = Memory {
            time_ns: self.moment(),
            action: memory_action::WRITE_TO_EXEC,
            argument: 5,
            address: 0x7f00_0000_0000 + self.chance.below(1 << 32) * 4096,
            length: 4096 * self.chance.between(1, 64),
            count: self.chance.between(1, 40),
            name: text(""),
            ..Memory::default()
        };
        second.acts.push(vec![seen(Signal::Memory, lineage, Record::Memory(record))]);
    }

    fn privilege(&mut self, second: &mut Second) {
        let lineage = self.life.server(22);
        let root = Credentials {
            effective: 0x1ff_ffff_ffff,
            permitted: 0x1ff_ffff_ffff,
            ..Credentials::default()
        };
        let user = Credentials { uid: 1000, euid: 1000, suid: 1000, gid: 1000, egid: 1000, ..root };
        let user = Credentials { effective: 0, permitted: 0, ..user };
        let changed = CredentialChange { before: root, after: user };
        let mount = self.chance.one_in(3);
        let record = Privilege {
            time_ns: self.moment(),
            action: if mount { privilege_action::MOUNT } else { privilege_action::CREDENTIALS },
            count: 1,
            kind: u32::from(mount),
            credentials: (!mount).then_some(changed),
            name: text(if mount { "/var/lib/docker/overlay2/merged" } else { "" }),
            source: text(if mount { "overlay" } else { "" }),
            type_name: text(if mount { "overlay" } else { "" }),
            ..Privilege::default()
        };
        second.acts.push(vec![seen(Signal::Privilege, lineage, Record::Privilege(record))]);
    }

    fn scan(&mut self, second: &mut Second) {
        let boot_ns = self.clock().boot_ns;
        let lineage = self.life.command(&mut self.chance, boot_ns);
        let record = Scan {
            time_ns: self.moment(),
            trigger: scan_trigger::WRITTEN,
            inode: self.chance.between(100_000, 900_000),
            dev: 0x0080_0001,
            size: self.chance.size(4_096),
            path: text("/var/www/html/uploads/avatar.php"),
            sha256: text(self.chance.bytes::<32>()),
            rule: text("webshell_php_eval_request"),
            source: text("webshells.yar"),
            revision: text("3f2a9c1d77e0"),
            tags: text("webshell\0php\0"),
            meta: text("severity=high\0description=evaluates what a request brings\0"),
            ..Scan::default()
        };
        second.acts.push(vec![seen(Signal::Scan, lineage, Record::Scan(record))]);
    }

    /// What is installed, told once at start.
    fn packages(&mut self, second: &mut Second) {
        let package = |(name, version): &(&str, &str)| {
            let record = Inventory {
                time_ns: self.now(),
                kind: inventory_kind::PACKAGE,
                change: inventory_change::PRESENT,
                name: text(name),
                version: text(version),
                detail: text("amd64"),
            };
            seen(Signal::Inventory, Vec::new(), Record::Inventory(record))
        };
        let named: Vec<Observation> = PACKAGES.iter().map(package).collect();
        // A server has hundreds of packages, of which most are libraries.
        for number in 0..400 {
            let (name, version) = PACKAGES[number % PACKAGES.len()];
            let library = (format!("lib{name}-{number}-dev"), format!("{version}.{number}"));
            second.bulk.push(package(&(&*library.0, &*library.1)));
        }
        second.bulk.extend(named);
    }
}
