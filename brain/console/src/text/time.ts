/** Times and spans as people read them. Nothing here reads a clock: `now` is an argument. */

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "2026-11-23 10:00:00.123 UTC": the same text in every browser and every report. */
export function absolute(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  return date.toISOString().replace("T", " ").replace("Z", " UTC");
}

/** "10:00:00.123": for rows below a heading that already says the day. */
export function clock(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toISOString().slice(11, 23);
}

/** "2026-11-23" in UTC. */
export function day(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toISOString().slice(0, 10);
}

/** "just now", "42 s ago", "5 min ago", "3 h ago", "in 23 h"; whole units, rounded down. */
export function relative(time: string, now: number): string {
  const then = new Date(time).getTime();
  if (Number.isNaN(then)) return time;
  const away = now - then;
  if (Math.abs(away) < 3 * SECOND) return "just now";
  const span = duration(Math.abs(away));
  return away >= 0 ? `${span} ago` : `in ${span}`;
}

/** The largest unit that fits, of milliseconds: "42 s", "5 min", "3 h", "12 d". */
export function duration(milliseconds: number): string {
  if (milliseconds < MINUTE) return `${Math.floor(milliseconds / SECOND)} s`;
  if (milliseconds < HOUR) return `${Math.floor(milliseconds / MINUTE)} min`;
  if (milliseconds < 2 * DAY) return `${Math.floor(milliseconds / HOUR)} h`;
  return `${Math.floor(milliseconds / DAY)} d`;
}

/** The span between the first and the last time something was seen, or "once". */
export function between(first: string, last: string): string {
  const span = new Date(last).getTime() - new Date(first).getTime();
  if (!Number.isFinite(span) || span <= 0) return "at one moment";
  if (span < SECOND) return `within ${Math.ceil(span)} ms`;
  return `over ${duration(span)}`;
}

/** How long after `start` something happened: "+0.000 s", "+12.345 s", "+3 min 12 s". */
export function offset(start: string, time: string): string {
  const away = new Date(time).getTime() - new Date(start).getTime();
  if (!Number.isFinite(away)) return "";
  const sign = away < 0 ? "−" : "+";
  const size = Math.abs(away);
  if (size < MINUTE) return `${sign}${(size / SECOND).toFixed(3)} s`;
  const seconds = Math.floor(size / SECOND) % 60;
  if (size < HOUR) return `${sign}${Math.floor(size / MINUTE)} min ${seconds} s`;
  return `${sign}${Math.floor(size / HOUR)} h ${Math.floor(size / MINUTE) % 60} min`;
}

/** What the brain knows of a host's clock. */
export interface HostClock {
  clock_offset_ms: number | null;
  clock_error_ms: number | null;
  clock_wrong: boolean | null;
}

/** Says how the host's clock stands to the brain's, as exactly as that is known. */
export function clockState(host: HostClock): string {
  const { clock_offset_ms: offset, clock_error_ms: error } = host;
  if (offset === null || error === null) return "unknown";
  const text = (ms: number) => (ms < 1_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1_000).toFixed(1)} s`);
  const size = Math.abs(offset);
  if (size <= error) return `in step with the brain (± ${text(error)})`;
  const side = offset > 0 ? "ahead of" : "behind";
  const wrong = host.clock_wrong ? "wrong, records are corrected: " : "";
  return `${wrong}${text(size)} ${side} the brain (± ${text(error)})`;
}
