/** Every request to the brain is made here, and nowhere else. */

import type { CreatedToken, Finding, FindingPage, FindingState, Host, Overview, Session, Token } from "./types";

/** What went wrong, in a sentence that can be shown as it is. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  /** Seconds to wait before another try, where the brain said so. */
  readonly retryAfter: number | null;

  constructor(status: number, code: string, message: string, retryAfter: number | null = null) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

export interface FindingFilters {
  state: FindingState | "";
  host: string;
  type: string;
  /** The lower bound of a severity band, or the empty string. */
  min_severity: string;
  q: string;
}

/** One page of the list: small enough to be drawn at once, large enough to be worth a request. */
const PAGE_SIZE = 100;

let csrf: string | null = null;

function remember(session: Session): Session {
  csrf = session.csrf;
  return session;
}

/** Turns an answer that is not 2xx into an error with a sentence. */
export async function errorOf(response: Response): Promise<ApiError> {
  const retry = Number(response.headers.get("Retry-After"));
  const retryAfter = Number.isFinite(retry) && retry > 0 ? retry : null;
  try {
    const body: unknown = await response.json();
    const error = (body as { error?: { code?: unknown; message?: unknown } } | null)?.error;
    if (typeof error?.code === "string" && typeof error.message === "string") {
      return new ApiError(response.status, error.code, error.message, retryAfter);
    }
  } catch {
    // Falls through: a proxy in between may answer with HTML.
  }
  const message = `The brain answered with status ${response.status} and no explanation.`;
  return new ApiError(response.status, "unexplained", message, retryAfter);
}

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && csrf !== null) headers["X-Sakuramori-Csrf"] = csrf;
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      cache: "no-store",
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === "AbortError") throw cause;
    throw new ApiError(0, "unreachable", "The brain does not answer. It may be restarting, or the network is down.");
  }
  if (!response.ok) throw await errorOf(response);
  const text = await response.text();
  if (text === "") return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new ApiError(response.status, "bad_answer", "The brain's answer could not be read as JSON.");
  }
}

/** The query string of a findings list; empty filters are left out. */
export function findingsQuery(filters: FindingFilters, after: string | null, limit = PAGE_SIZE): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(filters)) {
    if (value !== "") query.set(name, String(value));
  }
  query.set("limit", String(limit));
  if (after !== null) query.set("after", after);
  return query.toString();
}

const id = encodeURIComponent;

export const api = {
  session: async (signal?: AbortSignal) =>
    remember(await call<Session>("GET", "/api/v1/session", undefined, signal)),
  setup: async (token: string, user: string, password: string) =>
    remember(await call<Session>("POST", "/api/v1/setup", { token, user, password })),
  login: async (user: string, password: string) =>
    remember(await call<Session>("POST", "/api/v1/login", { user, password })),
  logout: () => call<unknown>("POST", "/api/v1/logout", {}),
  overview: (signal?: AbortSignal) => call<Overview>("GET", "/api/v1/overview", undefined, signal),
  findings: (filters: FindingFilters, after: string | null, signal?: AbortSignal, limit?: number) =>
    call<FindingPage>("GET", `/api/v1/findings?${findingsQuery(filters, after, limit)}`, undefined, signal),
  finding: (finding: string, signal?: AbortSignal) =>
    call<Finding>("GET", `/api/v1/findings/${id(finding)}`, undefined, signal),
  setState: (finding: string, state: FindingState, note: string) =>
    call<Finding>("POST", `/api/v1/findings/${id(finding)}/state`, { state, note }),
  hosts: async (signal?: AbortSignal) =>
    (await call<{ hosts: Host[] }>("GET", "/api/v1/hosts", undefined, signal)).hosts,
  host: (host: string, signal?: AbortSignal) =>
    call<Host>("GET", `/api/v1/hosts/${id(host)}`, undefined, signal),
  revokeHost: (host: string) => call<Host>("POST", `/api/v1/hosts/${id(host)}/revoke`, {}),
  tokens: async (signal?: AbortSignal) =>
    (await call<{ tokens: Token[] }>("GET", "/api/v1/tokens", undefined, signal)).tokens,
  createToken: (role: string, uses: number, ttl_seconds: number) =>
    call<CreatedToken>("POST", "/api/v1/tokens", { role, uses, ttl_seconds }),
  revokeToken: (token: string) => call<unknown>("DELETE", `/api/v1/tokens/${id(token)}`),
};

/** The address of the live stream. */
export const LIVE_PATH = "/api/v1/live";
