/** Small values of the API's types, for tests. */

import type { Finding, Host, Overview, Process } from "../api/types";

export function processOf(pid: number, more: Partial<Process> = {}): Process {
  return {
    pid,
    start_time: "2026-11-23T10:00:00.000Z",
    executable: `/usr/bin/p${pid}`,
    command_line: `p${pid}`,
    name: `p${pid}`,
    user: "root",
    uid: 0,
    euid: 0,
    cgroup: null,
    container: null,
    flags: [],
    ...more,
  };
}

export function findingOf(id: string, more: Partial<Finding> = {}): Finding {
  return {
    id,
    type: "Execution:Host/ReverseShell",
    guardduty_type: null,
    severity: 8,
    severity_label: "high",
    title: `Finding ${id}`,
    description: "",
    remediation: "",
    host: { id: "h-1", name: "app-1", role: "app" },
    state: "open",
    count: 1,
    first_seen: "2026-11-23T10:00:00.000Z",
    last_seen: "2026-11-23T10:00:00.000Z",
    process: null,
    lineage: [],
    actors: [],
    evidence: [],
    evidence_dropped: 0,
    mitre: [],
    policy: { id: "p", file: "p.yml", revision: "r", author: null },
    exactness: "exact",
    coverage: { state: "complete", detail: "" },
    dedup_key: id,
    history: [],
    ...more,
  };
}

export function hostOf(id: string, more: Partial<Host> = {}): Host {
  return {
    id,
    name: id,
    role: "web",
    state: "online",
    degraded: false,
    connected_since: null,
    last_seen: null,
    address: null,
    sensor_version: "0.1.0",
    kernel: "6.12",
    boot_id: "b",
    cpus: 2,
    clock_offset_ms: 0,
    clock_error_ms: 1,
    clock_wrong: false,
    clock_steps: 0,
    clock_stepped: null,
    coverage: null,
    records_per_second: 0,
    findings_open: 0,
    ...more,
  };
}

export function overviewOf(records_per_second: number): Overview {
  return {
    findings: { open: 0, by_severity: { critical: 0, high: 0, medium: 0, low: 0 } },
    hosts: { total: 0, online: 0, degraded: 0 },
    records_per_second,
    batches: { received: 0, duplicate: 0 },
    lost: { total: 0, by_reason: [] },
    started: "2026-11-23T10:00:00.000Z",
  };
}
