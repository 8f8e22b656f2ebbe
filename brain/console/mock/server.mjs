// A brain without a fleet, for work on the console: it serves the API's JSON and the built app
// under the same content security policy. Never part of the product.
//
//   node mock/server.mjs [--port 8099] [--setup] [--hostile] [--quiet] [--empty]

import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { parseArgs } from "node:util";

import { PAYLOADS, hostileFinding } from "../browser/hostile.mjs";
import { finding, findings as story, hosts as fleet, tokens as issued } from "./data.mjs";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "8099" },
    setup: { type: "boolean", default: false },
    hostile: { type: "boolean", default: false },
    quiet: { type: "boolean", default: false },
    empty: { type: "boolean", default: false },
  },
});

const CSP =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const TYPES = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };
const DIST = join(import.meta.dirname, "..", "dist");
const SETUP_TOKEN = "mock-set-up-token";
const PASSWORD_MIN = 12;

const state = {
  setUp: !options.setup,
  signedIn: false,
  findings: options.empty ? [] : [...(options.hostile ? PAYLOADS.map(hostileFinding) : []), ...story],
  hosts: options.empty ? [] : fleet,
  tokens: options.empty ? [] : [...issued],
  streams: new Set(),
};

const session = () => ({
  setup_required: !state.setUp,
  user: state.signedIn ? { name: "admin", role: "admin" } : null,
  csrf: state.signedIn ? "mock-csrf" : null,
  version: "0.1.0",
});

function overview() {
  const open = state.findings.filter((each) => each.state === "open");
  const of = (label) => open.filter((each) => each.severity_label === label).length;
  const by_reason = state.hosts.flatMap((host) =>
    (host.coverage?.ledger ?? []).flatMap(({ signal, lost }) => lost.map((loss) => ({ signal, ...loss }))),
  );
  return {
    findings: {
      open: open.length,
      by_severity: { critical: of("critical"), high: of("high"), medium: of("medium"), low: of("low") },
    },
    hosts: {
      total: state.hosts.length,
      online: state.hosts.filter((host) => host.state === "online").length,
      degraded: state.hosts.filter((host) => host.degraded).length,
    },
    records_per_second: options.empty ? 0 : 200 + 60 * Math.sin(Date.now() / 9_000) + 40 * Math.random(),
    batches: { received: 18_204, duplicate: 3 },
    lost: { total: by_reason.reduce((sum, loss) => sum + loss.count, 0), by_reason },
    started: new Date(performance.timeOrigin).toISOString(),
  };
}

const refusal = (status, code, message) => ({ status, body: { error: { code, message } } });

function list(query) {
  const text = (query.get("q") ?? "").toLowerCase();
  const fit = state.findings
    .filter((each) => !query.get("state") || each.state === query.get("state"))
    .filter((each) => !query.get("host") || each.host.name === query.get("host"))
    .filter((each) => !query.get("type") || each.type === query.get("type"))
    .filter((each) => each.severity >= Number(query.get("min_severity") ?? 0))
    .filter((each) => JSON.stringify([each.title, each.type, each.process]).toLowerCase().includes(text))
    .sort((a, b) => (a.last_seen < b.last_seen ? 1 : -1));
  const from = Number(query.get("after") ?? 0);
  const to = from + Number(query.get("limit") ?? 100);
  return { findings: fit.slice(from, to), next: to < fit.length ? String(to) : null, total: fit.length };
}

function enter() {
  state.setUp = true;
  state.signedIn = true;
  return { body: session(), cookie: "sakuramori=mock; Path=/; HttpOnly; SameSite=Strict" };
}

function setUp({ token, password }) {
  if (state.setUp) return refusal(409, "done_already", "The set-up was done already. Sign in instead.");
  if (token !== SETUP_TOKEN) return refusal(403, "bad_token", "This set-up link is not valid. Use the one that the brain printed.");
  if (password.length < PASSWORD_MIN) return refusal(400, "weak_password", "A password needs at least 12 characters.");
  return enter();
}

function changeState(id, { state: next, note }) {
  const found = state.findings.find((each) => each.id === id);
  if (!found) return refusal(404, "not_found", "There is no such finding.");
  const entry = { time: new Date().toISOString(), user: "admin", state: next, note };
  const changed = { ...found, state: next, history: [...found.history, entry] };
  state.findings = state.findings.map((each) => (each.id === id ? changed : each));
  broadcast("finding", changed);
  return { body: changed };
}

function createToken({ role, uses, ttl_seconds }) {
  const token = {
    id: Math.random().toString(16).slice(2, 18).padEnd(16, "0"),
    role,
    uses_left: uses,
    created: new Date().toISOString(),
    expires: new Date(Date.now() + ttl_seconds * 1000).toISOString(),
  };
  state.tokens.push(token);
  return { body: { ...token, token: "skm1.7kfa2Q9sGzVwUo0yqP3mN8xR5tL1bC4dE6fHjKiW2uSvYpXnAaZ0gTqMrBcOl7hI3eDkFy-JwUx_VtS" } };
}

function changeHost(id) {
  state.hosts = state.hosts.map((host) => (host.id === id ? { ...host, state: "revoked", connected_since: null } : host));
  const host = state.hosts.find((each) => each.id === id);
  return host ? { body: host } : refusal(404, "not_found", "There is no such host.");
}

const one = (found, what) => (found ? { body: found } : refusal(404, "not_found", `There is no such ${what}.`));

function answer(method, url, body) {
  const [, , , kind, id, verb] = url.pathname.split("/").map(decodeURIComponent);
  if (kind === "session") return { body: session() };
  if (kind === "setup") return setUp(body);
  if (kind === "login") {
    return body.user === "admin" && body.password.length >= PASSWORD_MIN
      ? enter()
      : refusal(401, "bad_login", "The user name or the password is wrong.");
  }
  if (!state.signedIn) return refusal(401, "not_signed_in", "Sign in first.");
  if (kind === "logout") {
    state.signedIn = false;
    return { body: session() };
  }
  if (kind === "overview") return { body: overview() };
  if (kind === "findings" && verb === "state") return changeState(id, body);
  if (kind === "findings") return id ? one(state.findings.find((each) => each.id === id), "finding") : { body: list(url.searchParams) };
  if (kind === "hosts" && verb === "revoke") return changeHost(id);
  if (kind === "hosts") return id ? one(state.hosts.find((each) => each.id === id), "host") : { body: { hosts: state.hosts } };
  if (kind === "tokens" && method === "POST") return createToken(body);
  if (kind === "tokens" && method === "DELETE") {
    state.tokens = state.tokens.filter((token) => token.id !== id);
    return { body: {} };
  }
  if (kind === "tokens") return { body: { tokens: state.tokens } };
  return refusal(404, "not_found", "There is no such address.");
}

function broadcast(event, data) {
  for (const stream of state.streams) stream.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

function openStream(request, response) {
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-store" });
  response.write(": welcome\n\n");
  state.streams.add(response);
  request.on("close", () => state.streams.delete(response));
}

function sendFile(pathname, response) {
  const wanted = join(DIST, normalize(pathname));
  const file = existsSync(wanted) && statSync(wanted).isFile() ? wanted : join(DIST, "index.html");
  response.writeHead(200, {
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
  });
  createReadStream(file).pipe(response);
}

async function readBody(request) {
  let text = "";
  for await (const chunk of request) text += chunk;
  return text === "" ? {} : JSON.parse(text);
}

createServer(async (request, response) => {
  const url = new URL(request.url, "http://mock");
  if (!url.pathname.startsWith("/api/")) return sendFile(url.pathname, response);
  if (url.pathname === "/api/v1/live" && state.signedIn) return openStream(request, response);
  const { status = 200, body, cookie } = answer(request.method, url, await readBody(request));
  response.writeHead(status, { "Content-Type": "application/json", ...(cookie ? { "Set-Cookie": cookie } : {}) });
  response.end(JSON.stringify(body));
}).listen(Number(options.port), "127.0.0.1", function () {
  const base = `http://127.0.0.1:${this.address().port}`;
  console.log(`console at ${base}/`);
  if (options.setup) console.log(`set-up link: ${base}/setup?token=${SETUP_TOKEN}`);
});

setInterval(() => broadcast("overview", overview()), 2_000);

if (!options.quiet && !options.empty) {
  const ARRIVAL_MS = 9_000;
  setInterval(() => {
    const now = new Date().toISOString();
    const arrived = finding("Discovery:Host/PortScan", "web-1", 5, `actor on web-1 tried ${100 + state.findings.length} ports of 10.77.0.13`, {
      first_seen: now,
      last_seen: now,
    });
    state.findings.unshift(arrived);
    broadcast("finding", arrived);
  }, ARRIVAL_MS);
}
