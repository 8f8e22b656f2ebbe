/** What the screens ask for: one hook each, with the live stream laid over the answer. */

import { useInfiniteQuery, useQuery, useQueryClient, type QueryClient } from "@tanstack/react-query";

import { api, type FindingFilters } from "./client";
import { newest, withHosts, type LiveEvent } from "./live";
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
  return useQuery({
    queryKey: ["overview"],
    queryFn: ({ signal }) => api.overview(signal),
    refetchInterval: usePoll(),
  });
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
  return useQuery({
    queryKey: ["hosts"],
    queryFn: ({ signal }) => api.hosts(signal),
    refetchInterval: usePoll(),
    refetchOnMount: "always",
  });
}

export function useHost(id: string) {
  return useQuery({
    queryKey: ["host", id],
    queryFn: ({ signal }) => api.host(id, signal),
    refetchInterval: usePoll(),
    refetchOnMount: "always",
  });
}

/** Lays what the live stream brought over the answers that are kept: the last to arrive is shown. */
export function takeEvents(client: QueryClient, events: readonly LiveEvent[]): void {
  const hosts = new Map<string, Host>();
  for (const event of events) {
    if (event.kind === "overview") client.setQueryData(["overview"], event.overview);
    if (event.kind === "host") hosts.set(event.host.id, event.host);
  }
  if (hosts.size === 0) return;
  client.setQueryData<Host[]>(["hosts"], (known) => known && withHosts(known, hosts));
  for (const host of hosts.values()) {
    client.setQueryData<Host>(["host", host.id], (known) => known && host);
  }
}

export function useTokens() {
  return useQuery({ queryKey: ["tokens"], queryFn: ({ signal }) => api.tokens(signal) });
}
