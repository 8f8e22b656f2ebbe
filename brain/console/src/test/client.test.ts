import { afterEach, describe, expect, it, vi } from "vitest";

import { api, ApiError, errorOf, findingsQuery } from "../api/client";
import { OPEN_FILTERS } from "../screens/findings-filters";

const json = (status: number, body: unknown, headers: Record<string, string> = {}) =>
  new Response(JSON.stringify(body), { status, headers });

afterEach(() => vi.unstubAllGlobals());

describe("errorOf", () => {
  it("takes the brain's own sentence and the time to wait", async () => {
    const body = { error: { code: "too_many", message: "Too many attempts." } };
    const error = await errorOf(json(429, body, { "Retry-After": "30" }));
    expect(error).toMatchObject({ status: 429, code: "too_many", message: "Too many attempts.", retryAfter: 30 });
  });

  it.each([
    ["HTML of a proxy", new Response("<html>", { status: 502 })],
    ["an empty body", new Response(null, { status: 502 })],
    ["null", json(502, null)],
    ["an error of another shape", json(502, { error: "broken" })],
  ])("has a sentence for %s", async (_, response) => {
    const error = await errorOf(response);
    expect(error).toMatchObject({ status: 502, code: "unexplained", retryAfter: null });
    expect(error.message).toContain("502");
  });
});

describe("requests", () => {
  const session = { setup_required: false, user: { name: "admin", role: "admin" }, csrf: "c-1", version: "0.1.0" };

  it("send the session's token with every change and with nothing else", async () => {
    const fetched = vi.fn(async (path: string, _init: RequestInit) =>
      json(200, path.endsWith("/session") ? session : path.endsWith("/hosts") ? { hosts: [] } : {}),
    );
    vi.stubGlobal("fetch", fetched);
    await api.session();
    await api.hosts();
    await api.setState("f/1", "archived", "why");
    const [, read, change] = fetched.mock.calls;
    expect(read?.[1].headers).not.toHaveProperty("X-Sakuramori-Csrf");
    expect(change?.[0]).toBe("/api/v1/findings/f%2F1/state");
    expect(change?.[1].headers).toHaveProperty("X-Sakuramori-Csrf", "c-1");
    expect(change?.[1].body).toBe('{"state":"archived","note":"why"}');
  });

  it("say that the brain does not answer where the network fails", async () => {
    vi.stubGlobal("fetch", () => Promise.reject(new TypeError("Failed to fetch")));
    await expect(api.overview()).rejects.toMatchObject({ status: 0, code: "unreachable" });
  });

  it("refuse an answer that is not JSON", async () => {
    vi.stubGlobal("fetch", async () => new Response("<html>", { status: 200 }));
    await expect(api.overview()).rejects.toBeInstanceOf(ApiError);
  });

  it("take an empty answer for none", async () => {
    vi.stubGlobal("fetch", async () => new Response(null, { status: 204 }));
    await expect(api.revokeToken("t")).resolves.toBeUndefined();
  });
});

describe("findingsQuery", () => {
  it("leaves out what is empty and escapes the rest", () => {
    const query = findingsQuery({ ...OPEN_FILTERS, host: "a&b=c" }, "cur/sor=", 50);
    expect(query).toBe("state=open&host=a%26b%3Dc&limit=50&after=cur%2Fsor%3D");
  });
});
