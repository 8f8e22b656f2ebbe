import { describe, expect, it } from "vitest";

import { FINDINGS_KEPT, INITIAL, newest, parse, RATES_KEPT, reduce, withHosts, type LiveState } from "../api/live";
import { findingOf, hostOf, overviewOf } from "./samples";

const LATER = "2026-11-23T10:00:05.000Z";

describe("reduce", () => {
  it("keeps the newest form of a finding, whatever the order of arrival", () => {
    const newer = findingOf("a", { count: 3, last_seen: LATER });
    let state = reduce(INITIAL, { kind: "finding", finding: newer });
    state = reduce(state, { kind: "finding", finding: findingOf("a") });
    expect(state.findings.get("a")).toBe(newer);
  });

  it("forgets the oldest findings beyond its bound", () => {
    let state: LiveState = INITIAL;
    for (let n = 0; n < FINDINGS_KEPT + 10; n += 1) {
      state = reduce(state, { kind: "finding", finding: findingOf(`f-${n}`) });
    }
    expect(state.findings.size).toBe(FINDINGS_KEPT);
    expect(state.findings.has("f-9")).toBe(false);
    expect(state.findings.has("f-10")).toBe(true);
  });

  it("keeps a bounded row of rates, the newest last", () => {
    let state: LiveState = INITIAL;
    for (let n = 0; n < RATES_KEPT + 5; n += 1) state = reduce(state, { kind: "overview", overview: overviewOf(n) });
    expect(state.rates).toHaveLength(RATES_KEPT);
    expect(state.rates.at(-1)).toBe(RATES_KEPT + 4);
    expect(state.rates[0]).toBe(5);
  });

  it("gives the same state for the same status, so that nothing is drawn again", () => {
    const state = reduce(INITIAL, { kind: "status", status: "live" });
    expect(reduce(state, { kind: "status", status: "live" })).toBe(state);
  });

  it("never changes the state that it was given", () => {
    reduce(INITIAL, { kind: "finding", finding: findingOf("a") });
    expect(INITIAL.findings.size).toBe(0);
  });
});

describe("newest", () => {
  it("prefers the longer history: a state that a person set is not lost to a late event", () => {
    const entry = { time: LATER, user: "admin", state: "archived", note: null } as const;
    const archived = findingOf("a", { state: "archived", history: [entry] });
    const sighting = findingOf("a", { count: 9, last_seen: LATER });
    expect(newest(archived, sighting)).toBe(archived);
    expect(newest(sighting, archived)).toBe(archived);
  });
});

describe("parse", () => {
  it("reads the three kinds of events", () => {
    for (const [kind, value] of [
      ["finding", findingOf("a")],
      ["host", hostOf("h")],
      ["overview", overviewOf(1)],
    ] as const) {
      expect(parse(kind, JSON.stringify(value))).toEqual({ kind, [kind]: value });
    }
  });

  it("ignores what is broken, of another shape, or of an unknown kind", () => {
    expect(parse("finding", "{")).toBeNull();
    expect(parse("finding", "null")).toBeNull();
    expect(parse("finding", "[]")).toBeNull();
    expect(parse("host", "{}")).toBeNull();
    expect(parse("weather", JSON.stringify(hostOf("h")))).toBeNull();
  });
});

describe("withHosts", () => {
  it("renews known hosts in their place and adds those that enrolled since", () => {
    const renewed = hostOf("b", { degraded: true });
    const added = hostOf("c");
    const fresh = new Map([
      ["b", renewed],
      ["c", added],
    ]);
    expect(withHosts([hostOf("a"), hostOf("b")], fresh)).toEqual([hostOf("a"), renewed, added]);
  });
});
