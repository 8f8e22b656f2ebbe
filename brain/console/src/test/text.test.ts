import { describe, expect, it } from "vitest";

import { brainAddress, joinCommand } from "../text/join";
import { balance, lostShare } from "../text/ledger";
import { bytes, plural, rate, short } from "../text/number";
import { passwordProblem } from "../text/password";
import { SPARK_HEIGHT, SPARK_WIDTH, sparkPoints } from "../text/spark";
import { absolute, between, clock, clockState, offset, relative } from "../text/time";
import { branches, owner } from "../text/tree";
import { fieldText, flag, techniqueUrl } from "../text/words";
import { processOf } from "./samples";

const NOON = "2026-11-23T12:00:00.000Z";
const after = (seconds: number) => new Date(NOON).getTime() + seconds * 1_000;

describe("times", () => {
  it.each([
    [0, "just now"],
    [-2, "just now"],
    [42, "42 s ago"],
    [59.9, "59 s ago"],
    [60, "1 min ago"],
    [3_599, "59 min ago"],
    [7_200, "2 h ago"],
    [47 * 3_600, "47 h ago"],
    [48 * 3_600, "2 d ago"],
    [-3_600, "in 1 h"],
  ])("%d s later is %s", (seconds, text) => {
    expect(relative(NOON, after(seconds))).toBe(text);
  });

  it("are shown whole in UTC, and a broken one as it is", () => {
    expect(absolute("2026-11-23T10:00:00.123Z")).toBe("2026-11-23 10:00:00.123 UTC");
    expect(clock("2026-11-23T10:00:00.123Z")).toBe("10:00:00.123");
    expect([absolute("yesterday"), clock("yesterday"), relative("yesterday", 0)]).toEqual(Array(3).fill("yesterday"));
  });

  it.each([
    [null, null, null, "unknown"],
    [0.4, 0.9, false, "in step with the brain (± 0.9 ms)"],
    [-12.3, 3.1, false, "12.3 ms behind the brain (± 3.1 ms)"],
    [3_600_012, 1_500, true, "wrong, records are corrected: 3600.0 s ahead of the brain (± 1.5 s)"],
  ])("tell of a host's clock that is %d ± %d ms off", (offset, error, wrong, text) => {
    expect(clockState({ clock_offset_ms: offset, clock_error_ms: error, clock_wrong: wrong })).toBe(text);
  });

  it("have spans and offsets", () => {
    expect(between(NOON, NOON)).toBe("at one moment");
    expect(between(NOON, "2026-11-23T12:00:00.250Z")).toBe("within 250 ms");
    expect(between(NOON, "2026-11-23T12:05:00.000Z")).toBe("over 5 min");
    expect(offset(NOON, "2026-11-23T12:00:01.500Z")).toBe("+1.500 s");
    expect(offset(NOON, "2026-11-23T12:03:12.000Z")).toBe("+3 min 12 s");
    expect(offset(NOON, "2026-11-23T11:59:59.000Z")).toBe("−1.000 s");
  });
});

describe("numbers", () => {
  it("are short where they are large", () => {
    expect([short(9_999), short(12_345), short(Number.NaN)]).toEqual(["9,999", "12.3K", "—"]);
    expect([rate(0.25), rate(99.94), rate(1_234.5)]).toEqual(["0.3", "99.9", "1,235"]);
    expect([bytes(512), bytes(24_117_248)]).toEqual(["512 B", "23.0 MiB"]);
    expect([plural(1, "entry", "entries"), plural(0, "host"), plural(1_200, "host")]).toEqual([
      "1 entry",
      "0 hosts",
      "1,200 hosts",
    ]);
  });
});

describe("the process tree", () => {
  it("goes from the root to the process and marks where the user changes", () => {
    const lineage = [processOf(3, { uid: 33, euid: 33, user: "www-data" }), processOf(2), processOf(1)];
    const tree = branches(processOf(4, { uid: 33, euid: 0, user: "www-data" }), lineage);
    expect(tree.map((branch) => branch.process.pid)).toEqual([1, 2, 3, 4]);
    expect(tree.map((branch) => branch.depth)).toEqual([0, 1, 2, 3]);
    expect(tree.map((branch) => branch.userChanged)).toEqual([false, false, true, true]);
    expect(tree.map((branch) => branch.subject)).toEqual([false, false, false, true]);
  });

  it("is empty where no process is known", () => {
    expect(branches(null, [])).toEqual([]);
  });

  it("names the owner, also without a name", () => {
    expect(owner(processOf(1))).toBe("root");
    expect(owner(processOf(1, { user: null, uid: 33, euid: 33 }))).toBe("uid 33");
    expect(owner(processOf(1, { user: "alice", uid: 1000 }))).toBe("alice, effectively root");
  });
});

describe("the ledger", () => {
  const row = { signal: "exec", seen: 100, delivered: 90 };

  it("holds, is open, or is broken", () => {
    expect(balance({ ...row, lost: [{ reason: "ring_full", count: 10 }] }).open).toBe(0);
    expect(balance({ ...row, lost: [{ reason: "ring_full", count: 7 }] }).open).toBe(3);
    expect(balance({ ...row, lost: [{ reason: "ring_full", count: 12 }] }).open).toBe(-2);
  });

  it("names the larger reasons first and leaves out those of zero", () => {
    const lost = [
      { reason: "a", count: 0 },
      { reason: "b", count: 1 },
      { reason: "c", count: 9 },
    ];
    expect(balance({ ...row, lost }).reasons.map((loss) => loss.reason)).toEqual(["c", "b"]);
  });

  it("never rounds a loss to none", () => {
    const share = (seen: number, count: number) =>
      lostShare(balance({ signal: "x", seen, delivered: seen - count, lost: [{ reason: "r", count }] }));
    expect([share(100, 0), share(1_000_000, 1), share(88_410, 490), share(10, 5)]).toEqual([
      "0 %",
      "< 0.01 %",
      "0.55 %",
      "50 %",
    ]);
  });
});

describe("words", () => {
  it("link a technique only where the id is one", () => {
    expect(techniqueUrl("T1059.004")).toBe("https://attack.mitre.org/techniques/T1059/004/");
    expect(techniqueUrl("T1046")).toBe("https://attack.mitre.org/techniques/T1046/");
    for (const wrong of ["", "T1", "javascript:alert(1)", "T1059.004/../..", "xT1046"]) {
      expect(techniqueUrl(wrong)).toBeNull();
    }
  });

  it("show a flag by its name where it is new, even one named like a property of every object", () => {
    expect(flag("args_truncated")).toBe("arguments cut short");
    expect(flag("brand_new")).toBe("brand new");
    expect(flag("__proto__")).toBe("  proto  ");
    expect(flag("constructor")).toBe("constructor");
  });

  it("turn every kind of field into text", () => {
    expect(["", null, 7, true, ["a", 1], { a: "<b>" }].map(fieldText)).toEqual([
      "(empty)",
      "—",
      "7",
      "true",
      "a, 1",
      '{"a":"<b>"}',
    ]);
  });
});

describe("the join command", () => {
  it("quotes what a shell would read", () => {
    expect(joinCommand(brainAddress("brain.example"), "skm1.a-b_c")).toBe(
      "sudo sakuramori-sensor run --brain brain.example:7443 --join skm1.a-b_c",
    );
    expect(joinCommand("x; rm -rf 'y'", "skm1.a")).toContain(`--brain 'x; rm -rf '\\''y'\\'''`);
    expect(brainAddress("[::1]")).toBe("[::1]:7443");
  });
});

describe("a password", () => {
  it("needs twelve characters, as people count them, and the same twice", () => {
    expect(passwordProblem("short", "")).toBe("7 more characters are needed.");
    expect(passwordProblem("🌸".repeat(11), "")).toBe("1 more character is needed.");
    expect(passwordProblem("🌸".repeat(12), "🌸".repeat(12))).toBeNull();
    expect(passwordProblem("twelve chars", "twelve charS")).toBe("The two passwords differ.");
  });
});

describe("the line of rates", () => {
  it("ends at the right edge and touches the top at its highest", () => {
    const points = sparkPoints([0, 10, 5], 5);
    expect(points.map(([x]) => x)).toEqual([SPARK_WIDTH / 2, (3 * SPARK_WIDTH) / 4, SPARK_WIDTH]);
    expect(points.map(([, y]) => y)).toEqual([SPARK_HEIGHT - 2, 2, SPARK_HEIGHT / 2]);
  });

  it("is flat, not broken, where nothing happens", () => {
    expect(sparkPoints([0, 0], 2).every(([, y]) => y === SPARK_HEIGHT - 2)).toBe(true);
    expect(sparkPoints([], 30)).toEqual([]);
  });
});
