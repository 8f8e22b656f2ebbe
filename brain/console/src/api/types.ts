/** The JSON of the brain's HTTP API, as it is on the wire. Times are RFC 3339 in UTC. */

export type SeverityLabel = "critical" | "high" | "medium" | "low";
export type FindingState = "open" | "acknowledged" | "archived" | "suppressed";
export type Exactness = "exact" | "sketch" | "sampled" | "gap";
export type HostState = "online" | "offline" | "revoked";

export interface Session {
  setup_required: boolean;
  user: { name: string; role: string } | null;
  csrf: string | null;
  version: string;
}

export interface Loss {
  reason: string;
  count: number;
}

export interface Overview {
  findings: { open: number; by_severity: Record<SeverityLabel, number> };
  hosts: { total: number; online: number; degraded: number };
  records_per_second: number;
  batches: { received: number; duplicate: number };
  lost: { total: number; by_reason: (Loss & { signal: string })[] };
  started: string;
}

export interface Process {
  pid: number;
  start_time: string;
  executable: string;
  command_line: string;
  name: string;
  user: string | null;
  uid: number;
  euid: number;
  cgroup: string | null;
  container: string | null;
  flags: string[];
}

export type FieldValue = string | number | boolean | null | FieldValue[] | { [key: string]: FieldValue };

export interface Evidence {
  time: string;
  kind: string;
  summary: string;
  fields: Record<string, FieldValue>;
}

export interface Technique {
  tactic: string;
  technique: string;
  name: string;
}

export interface HistoryEntry {
  time: string;
  user: string | null;
  state: FindingState;
  note: string | null;
}

export interface Finding {
  id: string;
  type: string;
  guardduty_type: string | null;
  severity: number;
  severity_label: SeverityLabel;
  title: string;
  description: string;
  remediation: string;
  host: { id: string; name: string; role: string };
  state: FindingState;
  count: number;
  first_seen: string;
  last_seen: string;
  process: Process | null;
  /** The ancestors of `process`, nearest parent first. */
  lineage: Process[];
  actors: { kind: string; value: string }[];
  actors_dropped?: number;
  evidence: Evidence[];
  evidence_dropped: number;
  mitre: Technique[];
  policy: { id: string; file: string; revision: string; author: string | null };
  exactness: Exactness;
  coverage: { state: "complete" | "partial" | "unknown"; detail: string };
  dedup_key: string;
  history: HistoryEntry[];
}

export interface FindingPage {
  findings: Finding[];
  next: string | null;
  total: number;
}

export interface Hook {
  name: string;
  attached: string | null;
  reason: string | null;
}

export interface LedgerRow {
  signal: string;
  seen: number;
  delivered: number;
  lost: Loss[];
}

export interface Coverage {
  hooks: Hook[];
  ledger: LedgerRow[];
  drain_lag_ms: number;
  cpu_percent: number;
  memory_bytes: number;
  updated: string;
}

export interface Host {
  id: string;
  name: string;
  role: string;
  state: HostState;
  degraded: boolean;
  connected_since: string | null;
  last_seen: string | null;
  enrolled?: string;
  certificate_expires?: string;
  address: string | null;
  sensor_version: string;
  kernel: string;
  boot_id: string;
  cpus: number;
  /** How far the host's clock is ahead of the brain's; null while the sensor has not told it. */
  clock_offset_ms: number | null;
  /** The bound of that figure's error. */
  clock_error_ms: number | null;
  clock_wrong: boolean | null;
  /** How often the clock was set, and when last. */
  clock_steps: number;
  clock_stepped: string | null;
  coverage: Coverage | null;
  records_per_second: number;
  findings_open: number;
}

export interface Token {
  id: string;
  role: string;
  uses_left: number;
  expires: string;
  created: string;
}

export interface CreatedToken extends Token {
  /** The join token itself. The brain keeps only a hash, so it is shown this once. */
  token: string;
}
