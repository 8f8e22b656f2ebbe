/** The findings list: what the brain answered, with the live stream laid over it. */

import type { FindingFilters } from "../api/client";
import { newest } from "../api/live";
import type { Finding } from "../api/types";

export interface Arranged {
  rows: Finding[];
  /** Arrived since, and fit the filters, but are not shown until they are asked for. */
  waiting: Finding[];
}

/** Whether a finding fits the filters, as the brain decides it. */
export function fits(finding: Finding, filters: FindingFilters): boolean {
  if (filters.state !== "" && finding.state !== filters.state) return false;
  if (filters.host !== "" && finding.host.name !== filters.host && finding.host.id !== filters.host) return false;
  if (filters.type !== "" && finding.type !== filters.type) return false;
  if (filters.min_severity !== "" && finding.severity < Number(filters.min_severity)) return false;
  return filters.q === "" || mentions(finding, filters.q.toLowerCase());
}

function mentions(finding: Finding, text: string): boolean {
  const parts = [finding.title, finding.type, finding.host.name, finding.description, finding.process?.command_line];
  if (parts.some((part) => part?.toLowerCase().includes(text))) return true;
  return finding.actors.some((actor) => actor.value.toLowerCase().includes(text));
}

/**
 * Rows that are already drawn keep their place and only change their content, so nothing moves
 * under a reader. New ones wait until `accepted` holds their id; then they stand on top.
 */
export function arrange(
  base: readonly Finding[],
  fresh: ReadonlyMap<string, Finding>,
  filters: FindingFilters,
  accepted: ReadonlySet<string>,
  complete: boolean,
): Arranged {
  const known = new Set(base.map((finding) => finding.id));
  const drawn = base.map((finding) => {
    const change = fresh.get(finding.id);
    return change ? newest(finding, change) : finding;
  });
  // Without the list's end, an older finding may simply stand on a page that was not asked for yet.
  const horizon = complete ? "" : (base.at(-1)?.last_seen ?? "");
  const added = [...fresh.values()]
    .filter((finding) => !known.has(finding.id) && finding.last_seen > horizon && fits(finding, filters))
    .sort((a, b) => (a.last_seen < b.last_seen ? 1 : -1));
  return {
    rows: [...added.filter((finding) => accepted.has(finding.id)), ...drawn],
    waiting: added.filter((finding) => !accepted.has(finding.id)),
  };
}
