import { describe, expect, it } from "vitest";

import type { FindingFilters } from "../api/client";
import { readFilters, writeFilters, OPEN_FILTERS } from "../screens/findings-filters";
import { arrange, fits } from "../text/arrange";
import { findingOf, processOf } from "./samples";

const at = (second: number) => `2026-11-23T10:00:${String(second).padStart(2, "0")}.000Z`;
const ids = (rows: { id: string }[]) => rows.map((row) => row.id);

describe("arrange", () => {
  const base = [findingOf("b", { last_seen: at(20) }), findingOf("a", { last_seen: at(10) })];

  it("lets new findings wait until they are accepted, then puts them on top", () => {
    const fresh = new Map([
      ["c", findingOf("c", { last_seen: at(30) })],
      ["d", findingOf("d", { last_seen: at(40) })],
    ]);
    const waiting = arrange(base, fresh, OPEN_FILTERS, new Set(), true);
    expect(ids(waiting.rows)).toEqual(["b", "a"]);
    expect(ids(waiting.waiting)).toEqual(["d", "c"]);
    const shown = arrange(base, fresh, OPEN_FILTERS, new Set(["c", "d"]), true);
    expect(ids(shown.rows)).toEqual(["d", "c", "b", "a"]);
    expect(shown.waiting).toEqual([]);
  });

  it("changes a drawn row in its place, even where it no longer fits the filters", () => {
    const history = [{ time: at(50), user: "admin", state: "archived" as const, note: null }];
    const fresh = new Map([["a", findingOf("a", { state: "archived", last_seen: at(50), history })]]);
    const { rows, waiting } = arrange(base, fresh, OPEN_FILTERS, new Set(), true);
    expect(ids(rows)).toEqual(["b", "a"]);
    expect(rows[1]?.state).toBe("archived");
    expect(waiting).toEqual([]);
  });

  it("does not take a finding of a page that was not read yet for a new one", () => {
    const fresh = new Map([["old", findingOf("old", { last_seen: at(5) })]]);
    expect(arrange(base, fresh, OPEN_FILTERS, new Set(), false).waiting).toEqual([]);
    expect(ids(arrange(base, fresh, OPEN_FILTERS, new Set(), true).waiting)).toEqual(["old"]);
  });
});

describe("fits", () => {
  it("shows what is suppressed only to those who ask for it", () => {
    const hidden = findingOf("a", { state: "suppressed" });
    expect(fits(hidden, OPEN_FILTERS)).toBe(false);
    expect(fits(hidden, { ...OPEN_FILTERS, state: "suppressed" })).toBe(true);
  });

  const finding = findingOf("a", { process: processOf(7, { command_line: "xmrig -o Pool" }) });
  const cases: [Partial<FindingFilters>, boolean][] = [
    [{}, true],
    [{ state: "" }, true],
    [{ state: "archived" }, false],
    [{ state: "suppressed" }, false],
    [{ host: "app-1" }, true],
    [{ host: "h-1" }, true],
    [{ host: "app" }, false],
    [{ type: "Execution:Host/ReverseShell" }, true],
    [{ type: "Execution" }, false],
    [{ min_severity: "8" }, true],
    [{ min_severity: "8.1" }, false],
    [{ q: "pool" }, true],
    [{ q: "elsewhere" }, false],
  ];
  it.each(cases)("%j", (filters, expected) => {
    expect(fits(finding, { ...OPEN_FILTERS, ...filters })).toBe(expected);
  });
});

describe("the filters in the address", () => {
  it("are read as they were written", () => {
    const filters: FindingFilters = { state: "", host: "web 1&x=y", type: "A:B/C", min_severity: "7", q: "50%" };
    expect(readFilters(new URLSearchParams(writeFilters(filters).toString()))).toEqual(filters);
    expect(writeFilters(OPEN_FILTERS).size).toBe(0);
  });

  it("fall back where the address was made up", () => {
    expect(readFilters(new URLSearchParams("state=evil&min_severity=1e9"))).toEqual(OPEN_FILTERS);
    expect(readFilters(new URLSearchParams("min_severity=-3")).min_severity).toBe("");
  });
});
