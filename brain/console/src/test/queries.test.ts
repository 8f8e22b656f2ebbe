import { QueryClient } from "@tanstack/react-query";
import { describe, expect, it } from "vitest";

import { takeEvents } from "../api/queries";
import { hostOf, overviewOf } from "./samples";

describe("takeEvents", () => {
  it("shows the last that arrived and asks for nothing that no screen has asked for", () => {
    const client = new QueryClient();
    client.setQueryData(["hosts"], [hostOf("a")]);
    const offline = hostOf("a", { state: "offline" });
    takeEvents(client, [
      { kind: "overview", overview: overviewOf(1) },
      { kind: "host", host: hostOf("a", { degraded: true }) },
      { kind: "host", host: offline },
      { kind: "overview", overview: overviewOf(2) },
    ]);
    expect(client.getQueryData(["overview"])).toEqual(overviewOf(2));
    expect(client.getQueryData(["hosts"])).toEqual([offline]);
    expect(client.getQueryData(["host", "a"])).toBeUndefined();
  });
});
