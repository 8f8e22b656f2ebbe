/** Numbers as people read them. */

const GROUPED = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const SHORT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** "1,234,567" */
export function whole(value: number): string {
  return Number.isFinite(value) ? GROUPED.format(value) : "—";
}

/** "1,234" up to 9,999, then "12.3K", "4.5M". */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "—";
  return Math.abs(value) < 10_000 ? GROUPED.format(value) : SHORT.format(value);
}

/** A rate: one decimal while it is small, so that a quiet fleet does not read as a dead one. */
export function rate(value: number): string {
  if (!Number.isFinite(value)) return "—";
  return value < 100 ? value.toFixed(1) : short(Math.round(value));
}

/** "512 B", "38.2 MiB" */
export function bytes(value: number): string {
  if (!Number.isFinite(value)) return "—";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? size : size.toFixed(1)} ${units[unit]}`;
}

/** "1 host", "3 hosts" */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${whole(count)} ${count === 1 ? one : many}`;
}
