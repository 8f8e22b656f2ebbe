/** The process tree of a finding. */

import type { Process } from "../api/types";

export interface Branch {
  process: Process;
  depth: number;
  /** The process that the finding is about. */
  subject: boolean;
  /** The user changed from the parent to this process, which is worth seeing. */
  userChanged: boolean;
}

/** From the oldest ancestor down to the process, from the API's "nearest parent first". */
export function branches(process: Process | null, lineage: readonly Process[]): Branch[] {
  const line = [...lineage].reverse();
  if (process) line.push(process);
  return line.map((entry, depth) => {
    const parent = line[depth - 1];
    return {
      process: entry,
      depth,
      subject: entry === process,
      userChanged: parent !== undefined && (parent.uid !== entry.uid || parent.euid !== entry.euid),
    };
  });
}

/** "root", "www-data (33)", "root as alice": who a process runs as. */
export function owner(process: Process): string {
  const name = process.user ?? `uid ${process.uid}`;
  if (process.uid === process.euid) return name;
  return process.euid === 0 ? `${name}, effectively root` : `${name}, effectively uid ${process.euid}`;
}
