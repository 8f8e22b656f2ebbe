/** Terms of the API, explained for the one who reads a finding. */

import type { Exactness, Finding, FieldValue, FindingState, SeverityLabel } from "../api/types";

export const SEVERITIES: readonly SeverityLabel[] = ["critical", "high", "medium", "low"];

/** The lower bound of each band. */
export const SEVERITY_FLOOR: Record<SeverityLabel, number> = { critical: 9, high: 7, medium: 4, low: 1 };

export const SEVERITY_NAME: Record<SeverityLabel, string> = {
  critical: "Critical",
  high: "High",
  medium: "Medium",
  low: "Low",
};

export const STATE_NAME: Record<FindingState, string> = {
  open: "Open",
  acknowledged: "Acknowledged",
  archived: "Archived",
  suppressed: "Suppressed",
};

export const EXACTNESS: Record<Exactness, { name: string; meaning: string }> = {
  exact: { name: "Exact", meaning: "Every number here was counted in the kernel. None is an estimate." },
  sketch: {
    name: "Estimated by a sketch",
    meaning: "Numbers of distinct things come from a small sketch and are right within a few percent.",
  },
  sampled: {
    name: "Sampled",
    meaning: "Seen in short windows of observation. The real numbers are higher.",
  },
  gap: {
    name: "With gaps",
    meaning: "Records were lost in this span of time. Each number is a lower bound.",
  },
};

export const COVERAGE_NAME: Record<Finding["coverage"]["state"], string> = {
  complete: "Complete coverage",
  partial: "Partial coverage",
  unknown: "Unknown coverage",
};

/** A map and not an object: a flag named like a property of every object must find nothing. */
const FLAGS: ReadonlyMap<string, string> = new Map([
  ["args_truncated", "arguments cut short"],
  ["args_unknown", "arguments unknown"],
  ["exe_unknown", "executable unknown"],
  ["seeded", "started before the sensor"],
  ["memfd", "runs from memory"],
  ["unlinked", "its file was deleted"],
]);

/** A flag in words; one that is not known yet is shown by its name. */
export function flag(name: string): string {
  return FLAGS.get(name) ?? spaced(name);
}

/** "remote_address" becomes "remote address". */
export function spaced(name: string): string {
  return name.replaceAll("_", " ");
}

/** The address of a technique at MITRE, or `null` where the id has not the form of one. */
export function techniqueUrl(technique: string): string | null {
  const match = /^(T\d{4})(?:\.(\d{3}))?$/.exec(technique);
  if (!match) return null;
  const base = `https://attack.mitre.org/techniques/${match[1]}/`;
  return match[2] ? `${base}${match[2]}/` : base;
}

/** A field of an evidence entry as text. */
export function fieldText(value: FieldValue): string {
  if (value === null) return "—";
  if (typeof value === "string") return value === "" ? "(empty)" : value;
  if (Array.isArray(value)) return value.map(fieldText).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}
