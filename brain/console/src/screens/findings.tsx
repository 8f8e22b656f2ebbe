import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type RefObject } from "react";
import { useSearchParams } from "react-router";

import { useFindings, useHosts } from "../api/queries";
import { useLive } from "../api/store";
import type { FindingFilters } from "../api/client";
import type { Finding } from "../api/types";
import { arrange } from "../text/arrange";
import { plural } from "../text/number";
import { Icon } from "../ui/icons";
import { Empty, Failure, Heading, Loading } from "../ui/parts";
import { FindingRow } from "./finding-row";
import { Filters, OPEN_FILTERS, readFilters, writeFilters } from "./findings-filters";

/** Types that the brain's own detectors and policies give; others are added as they are seen. */
const KNOWN_TYPES = [
  "CommandAndControl:Host/ListedAddress",
  "DefenseEvasion:Host/FilelessExecution",
  "DefenseEvasion:Host/KernelModuleLoaded",
  "Discovery:Host/PortProbed",
  "Discovery:Host/PortScan",
  "Discovery:Host/PortSweep",
  "Execution:Host/ReverseShell",
  "Impact:Host/CryptoMinerExecuted",
];

/** Scrolled further than this, a reader is below the top and nothing may move. */
const TOP_PX = 60;

const NONE: ReadonlySet<string> = new Set();

export function FindingsScreen() {
  const [query, setQuery] = useSearchParams();
  const filters = useMemo(() => readFilters(query), [query]);
  return (
    <>
      <Heading title="Findings">
        <p className="heading-note keys">
          <kbd>J</kbd> <kbd>K</kbd> move, <kbd>Enter</kbd> opens, <kbd>/</kbd> searches
        </p>
      </Heading>
      <List filters={filters} onFilters={(next) => setQuery(writeFilters(next), { replace: true })} />
    </>
  );
}

interface ListProps {
  filters: FindingFilters;
  onFilters: (filters: FindingFilters) => void;
}

function List({ filters, onFilters }: ListProps) {
  const findings = useFindings(filters);
  const fresh = useLive((state) => state.findings);
  const hosts = useHosts();
  const search = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const key = writeFilters(filters).toString();
  const [taken, take] = useState({ key, ids: NONE });
  // Other filters make another list, in which nothing has been taken in yet.
  const accepted = taken.key === key ? taken.ids : NONE;
  const base = useMemo(() => findings.data?.pages.flatMap((page) => page.findings) ?? [], [findings.data]);
  const { rows, waiting } = arrange(base, fresh, filters, accepted, !findings.hasNextPage);
  const total = (findings.data?.pages[0]?.total ?? 0) + rows.length - base.length;
  const show = () => take({ key, ids: new Set([...accepted, ...waiting.map((finding) => finding.id)]) });

  // New findings come in by themselves only while that disturbs nobody.
  useEffect(() => {
    if (waiting.length > 0 && undisturbed(list.current)) show();
  });

  return (
    <div onKeyDown={(event) => onKey(event, list.current)}>
      <ShortcutToSearch search={search} />
      <Filters
        filters={filters}
        hosts={[...new Set(hosts.data?.map((host) => host.name))].sort()}
        types={[...new Set([...KNOWN_TYPES, ...rows.map((finding) => finding.type)])].sort()}
        search={search}
        onChange={onFilters}
      />
      <p className="list-total" aria-live="polite">
        {findings.data && plural(total, "finding")}
        {waiting.length > 0 && `, ${waiting.length} new`}
      </p>
      {waiting.length > 0 && (
        <div className="arrivals">
          <button type="button" className="button button-primary" onClick={() => (show(), window.scrollTo({ top: 0 }))}>
            <Icon name="up" size={16} />
            Show {plural(waiting.length, "new finding")}
          </button>
        </div>
      )}
      {findings.isPending ? (
        <Loading what="findings" />
      ) : findings.data === undefined ? (
        <Failure error={findings.error} retry={() => void findings.refetch()} />
      ) : rows.length === 0 ? (
        <NothingFound filters={filters} onFilters={onFilters} />
      ) : (
        <Rows rows={rows} accepted={accepted} list={list} />
      )}
      {findings.hasNextPage && (
        <div className="list-end">
          <button
            type="button"
            className="button"
            disabled={findings.isFetchingNextPage}
            onClick={() => void findings.fetchNextPage()}
          >
            {findings.isFetchingNextPage ? "Reading…" : "Show older findings"}
          </button>
        </div>
      )}
    </div>
  );
}

interface RowsProps {
  rows: Finding[];
  accepted: ReadonlySet<string>;
  list: RefObject<HTMLOListElement | null>;
}

function Rows({ rows, accepted, list }: RowsProps) {
  return (
    <div className="card table-card">
      <div className="rows-head" aria-hidden="true">
        <span>Severity</span>
        <span>Finding</span>
        <span>Host</span>
        <span>State</span>
        <span>Count</span>
        <span>First seen</span>
        <span>Last seen</span>
      </div>
      <ol className="rows" ref={list} aria-label="Findings, newest first">
        {rows.map((finding) => (
          <FindingRow key={finding.id} finding={finding} arrived={accepted.has(finding.id)} />
        ))}
      </ol>
    </div>
  );
}

function NothingFound({ filters, onFilters }: ListProps) {
  const filtered = writeFilters(filters).size > 0;
  return filtered ? (
    <Empty icon="search" title="No finding fits these filters">
      <button type="button" className="button" onClick={() => onFilters(OPEN_FILTERS)}>
        Clear the filters
      </button>
    </Empty>
  ) : (
    <Empty icon="findings" title="No open finding">
      <p>New ones appear here by themselves. Whether the sensors saw everything stands with each host.</p>
    </Empty>
  );
}

function undisturbed(list: HTMLElement | null): boolean {
  if (window.scrollY > TOP_PX) return false;
  return list === null || !(list.matches(":hover") || list.contains(document.activeElement));
}

/** J and K, or the arrow keys, move between the rows; Enter is the link's own. */
function onKey(event: KeyboardEvent, list: HTMLElement | null): void {
  const target = event.target as HTMLElement;
  if (!list || target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[event.key];
  if (step === undefined) return;
  const links = [...list.querySelectorAll<HTMLElement>("a.row-title")];
  const at = links.indexOf(document.activeElement as HTMLElement);
  const next = at === -1 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1);
  links[next]?.focus();
  event.preventDefault();
}

/** The slash goes to the search field from anywhere but another field. J enters the list. */
function ShortcutToSearch({ search }: { search: RefObject<HTMLInputElement | null> }) {
  useEffect(() => {
    const listen = (event: globalThis.KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      if ((event.target as HTMLElement).matches("input, select, textarea")) return;
      if (event.key === "/") {
        event.preventDefault();
        search.current?.focus();
      } else if (event.key === "j") {
        document.querySelector<HTMLElement>("ol.rows a.row-title")?.focus();
      }
    };
    document.addEventListener("keydown", listen);
    return () => document.removeEventListener("keydown", listen);
  }, [search]);
  return null;
}
