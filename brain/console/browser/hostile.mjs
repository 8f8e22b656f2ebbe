// Strings as an attacker on a host would choose them, put into whatever the brain answers.

export const PAYLOADS = [
  `<img src=x onerror="window.__struck=1">`,
  `"><script>window.__struck=1</script>`,
  `javascript:window.__struck=1//`,
  `</title></textarea><svg onload=window.__struck=1>`,
  `{{constructor.constructor('window.__struck=1')()}}`,
  `__proto__`,
  `\\x1b]0;struck\\x07\\u{202e}gnp.exe`,
  `x${"a".repeat(3_000)}`,
  `/${"../".repeat(300)}etc/passwd`,
];

const TIME = "2026-11-23T10:00:00.123Z";

const process = (pid, text) => ({
  pid,
  start_time: TIME,
  executable: text,
  command_line: text,
  name: text,
  user: text,
  uid: pid,
  euid: 0,
  cgroup: text,
  container: text,
  flags: [text, text],
});

/** A finding in which every string that may come from a host is the payload. */
export function hostileFinding(text, index) {
  return {
    id: `f-hostile-${index}`,
    type: `Execution:Host/${text}`,
    guardduty_type: text,
    severity: [9.5, 7.5, 5, 2][index % 4],
    severity_label: ["critical", "high", "medium", "low"][index % 4],
    title: text,
    description: text,
    remediation: text,
    host: { id: text, name: text, role: text },
    state: "open",
    count: 1_234_567,
    first_seen: TIME,
    last_seen: TIME,
    process: process(4_194_304, text),
    lineage: Array.from({ length: 14 }, (_, depth) => process(depth + 1, text)),
    actors: [{ kind: "address", value: text }, { kind: text, value: text }],
    evidence: [{ time: TIME, kind: text, summary: text, fields: { [text]: text, list: [text, { [text]: text }] } }],
    evidence_dropped: 1,
    mitre: [{ tactic: text, technique: text, name: text }, { tactic: text, technique: "T1059.004", name: text }],
    policy: { id: text, file: text, revision: text, author: text },
    exactness: "exact",
    coverage: { state: "partial", detail: text },
    dedup_key: text,
    history: [{ time: TIME, user: text, state: "open", note: text }],
  };
}

export function hostileHost(text, index) {
  return {
    id: `hostile-${index}`,
    name: text,
    role: text,
    state: "online",
    degraded: true,
    connected_since: TIME,
    last_seen: TIME,
    address: text,
    sensor_version: text,
    kernel: text,
    boot_id: text,
    cpus: 4_096,
    clock_offset_ms: -123_456.7,
    clock_error_ms: 9_876_543.2,
    clock_wrong: true,
    clock_steps: 4_294_967_295,
    clock_stepped: TIME,
    coverage: {
      hooks: [{ name: text, attached: text, reason: text }, { name: "exec", attached: null, reason: text }],
      ledger: [{ signal: text, seen: 9e15, delivered: 8e15, lost: [{ reason: text, count: 1e15 }, { reason: "x", count: 5 }] }],
      drain_lag_ms: 1e9,
      cpu_percent: 400,
      memory_bytes: 9e15,
      updated: TIME,
    },
    records_per_second: 9e12,
    findings_open: 1e9,
  };
}

/** Answers the page's requests for findings and hosts with hostile ones. */
export async function poison(page) {
  const findings = PAYLOADS.map(hostileFinding);
  const hosts = PAYLOADS.map(hostileHost);
  await page.route("**/api/v1/findings?*", (route) => route.fulfill({ json: { findings, next: null, total: findings.length } }));
  await page.route("**/api/v1/findings/f-hostile-*", (route) => {
    const id = new URL(route.request().url()).pathname.split("/").at(-1);
    return route.fulfill({ json: findings.find((finding) => finding.id === id) });
  });
  await page.route("**/api/v1/hosts", (route) => route.fulfill({ json: { hosts } }));
  await page.route("**/api/v1/hosts/hostile-*", (route) => {
    const id = new URL(route.request().url()).pathname.split("/").at(-1);
    return route.fulfill({ json: hosts.find((host) => host.id === id) });
  });
  return { findings, hosts };
}
