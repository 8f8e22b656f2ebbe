/** What the screens ask for: one hook each, with the live stream laid over the answer. */

import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";

import { api, type FindingFilters } from "./client";
import { newest } from "./live";
import { useLive } from "./store";
import type { Finding, Host } from "./types";

/** How often is asked while the live stream is down. */
const POLL_MS = 10_000;

function usePoll(): number | false {
  return useLive((state) => state.status) === "live" ? false : POLL_MS;
}

export function useSession() {
  return useQuery({ queryKey: ["session"], queryFn: ({ signal }) => api.session(signal), staleTime: 60_000 });
}

export function useOverview() {
  const fresh = useLive((state) => state.overview);
  const query = useQuery({
    queryKey: ["overview"],
    queryFn: ({ signal }) => api.overview(signal),
    refetchInterval: usePoll(),
  });
  return { ...query, data: fresh ?? query.data };
}

export function useFindings(filters: FindingFilters, limit?: number) {
  return useInfiniteQuery({
    queryKey: ["findings", filters, limit ?? "page"],
    queryFn: ({ pageParam, signal }) => api.findings(filters, pageParam, signal, limit),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next,
    refetchInterval: usePoll(),
    refetchOnMount: "always",
  });
}

export function useFinding(id: string) {
  const client = useQueryClient();
  const fresh = useLive((state) => state.findings.get(id));
  const query = useQuery({
    queryKey: ["finding", id],
    queryFn: ({ signal }) => api.finding(id, signal),
    placeholderData: () => cached(client.getQueriesData<{ pages: { findings: Finding[] }[] }>({ queryKey: ["findings"] }), id),
    refetchInterval: usePoll(),
  });
  const data = fresh && query.data ? newest(fresh, query.data) : query.data;
  return { ...query, data };
}

type Cached = [unknown, { pages: { findings: Finding[] }[] } | undefined][];

/** A finding that a list has already brought is drawn at once. */
function cached(lists: Cached, id: string): Finding | undefined {
  for (const [, list] of lists) {
    for (const page of list?.pages ?? []) {
      const found = page.findings.find((finding) => finding.id === id);
      if (found) return found;
    }
  }
  return undefined;
}

export function useHosts() {
  const fresh = useLive((state) => state.hosts);
  const query = useQuery({
    queryKey: ["hosts"],
    queryFn: ({ signal }) => api.hosts(signal),
    refetchInterval: usePoll(),
    refetchOnMount: "always",
  });
  return { ...query, data: query.data && overlay(query.data, fresh) };
}

/** The hosts of the answer in their newest form, with those that enrolled since. */
export function overlay(hosts: Host[], fresh: ReadonlyMap<string, Host>): Host[] {
  const known = new Set(hosts.map((host) => host.id));
  const added = [...fresh.values()].filter((host) => !known.has(host.id));
  return [...hosts.map((host) => fresh.get(host.id) ?? host), ...added];
}

export function useHost(id: string) {
  const fresh = useLive((state) => state.hosts.get(id));
  const query = useQuery({
    queryKey: ["host", id],
    queryFn: ({ signal }) => api.host(id, signal),
    refetchInterval: usePoll() || 5_000,
  });
  return { ...query, data: query.data && fresh ? later(fresh, query.data) : query.data };
}

/** The answer and the stream race; the one with the later sign of life is shown. */
function later(a: Host, b: Host): Host {
  return (a.coverage?.updated ?? a.last_seen ?? "") > (b.coverage?.updated ?? b.last_seen ?? "") ? a : b;
}

export function useTokens() {
  return useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => api.tokens(signal) });
}
