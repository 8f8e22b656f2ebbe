/** The live stream's state, as a pure function of the events that arrived. */

import type { Finding, Host, Overview } from "./types";

export type LiveStatus = "connecting" | "live" | "lost";

export interface LiveState {
  status: LiveStatus;
  /** Records per second, oldest first, one sample for each overview event. */
  rates: readonly number[];
  /** The newest known form of findings that changed since the page was opened. */
  findings: ReadonlyMap<string, Finding>;
}

export type LiveEvent =
  | { kind: "status"; status: LiveStatus }
  | { kind: "overview"; overview: Overview }
  | { kind: "finding"; finding: Finding }
  | { kind: "host"; host: Host };

/** Four minutes at one overview each two seconds. */
export const RATES_KEPT = 120;
/** A tab that stays open for a week must not grow; older changes are read from the brain again. */
export const FINDINGS_KEPT = 500;
export const INITIAL: LiveState = {
  status: "connecting",
  rates: [],
  findings: new Map(),
};

/** Sets a key as the newest entry and drops the oldest ones beyond `kept`. */
function put<V>(map: ReadonlyMap<string, V>, key: string, value: V, kept: number): Map<string, V> {
  const next = new Map(map);
  next.delete(key);
  next.set(key, value);
  for (const oldest of next.keys()) {
    if (next.size <= kept) break;
    next.delete(oldest);
  }
  return next;
}

export function reduce(state: LiveState, event: LiveEvent): LiveState {
  switch (event.kind) {
    case "status":
      return state.status === event.status ? state : { ...state, status: event.status };
    case "overview":
      return { ...state, rates: [...state.rates, event.overview.records_per_second].slice(-RATES_KEPT) };
    case "finding": {
      const known = state.findings.get(event.finding.id);
      const finding = known ? newest(known, event.finding) : event.finding;
      return { ...state, findings: put(state.findings, finding.id, finding, FINDINGS_KEPT) };
    }
    case "host":
      return state;
  }
}

/** A list of hosts with those in it renewed that changed, and those added that enrolled since. */
export function withHosts(hosts: readonly Host[], changed: ReadonlyMap<string, Host>): Host[] {
  const known = new Set(hosts.map((host) => host.id));
  const added = [...changed.values()].filter((host) => !known.has(host.id));
  return [...hosts.map((host) => changed.get(host.id) ?? host), ...added];
}

/** Of two forms of one finding the later one; equal ones keep the second, which arrived later. */
export function newest(a: Finding, b: Finding): Finding {
  if (a.history.length !== b.history.length) return a.history.length > b.history.length ? a : b;
  if (a.count !== b.count) return a.count > b.count ? a : b;
  return a.last_seen > b.last_seen ? a : b;
}

/** Reads one event of the stream; `null` for what cannot be read, which the caller ignores. */
export function parse(kind: string, data: string): LiveEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const has = (key: string) => key in value;
  if (kind === "finding" && has("id") && has("history")) return { kind, finding: value as Finding };
  if (kind === "host" && has("id") && has("state")) return { kind, host: value as Host };
  if (kind === "overview" && has("records_per_second")) return { kind, overview: value as Overview };
  return null;
}
