import { useEffect, useEffectEvent, useState, type RefObject } from "react";

import type { FindingFilters } from "../api/client";
import type { FindingState } from "../api/types";
import { SEVERITIES, SEVERITY_FLOOR, SEVERITY_NAME, STATE_NAME } from "../text/words";
import { Icon } from "../ui/icons";

export const OPEN_FILTERS: FindingFilters = { state: "open", host: "", type: "", min_severity: "", q: "" };

const STATES = Object.keys(STATE_NAME) as FindingState[];
/** A search waits until the typing pauses. */
const TYPING_MS = 250;

/** The filters of an address. Without a state in it, open findings are meant; "all" means every one. */
export function readFilters(query: URLSearchParams): FindingFilters {
  const state = query.get("state") ?? "open";
  const floor = Number(query.get("min_severity"));
  return {
    state: STATES.find((known) => known === state) ?? (state === "all" ? "" : "open"),
    host: query.get("host") ?? "",
    type: query.get("type") ?? "",
    // The lowest band begins where every finding does, so its floor filters nothing.
    min_severity: floor > SEVERITY_FLOOR.low && floor <= 10 ? String(floor) : "",
    q: query.get("q") ?? "",
  };
}

/** The address of some filters; what is the default is left out. */
export function writeFilters(filters: FindingFilters): URLSearchParams {
  const query = new URLSearchParams();
  if (filters.state !== "open") query.set("state", filters.state === "" ? "all" : filters.state);
  for (const name of ["min_severity", "host", "type", "q"] as const) {
    if (filters[name] !== "") query.set(name, filters[name]);
  }
  return query;
}

interface Props {
  filters: FindingFilters;
  hosts: string[];
  types: string[];
  search: RefObject<HTMLInputElement | null>;
  onChange: (filters: FindingFilters) => void;
}

export function Filters({ filters, hosts, types, search, onChange }: Props) {
  const set = (change: Partial<FindingFilters>) => onChange({ ...filters, ...change });
  const untouched = writeFilters(filters).size === 0;
  return (
    <search className="filters">
      <Search value={filters.q} input={search} onChange={(q) => set({ q })} />
      <Choice label="State" usual="open" value={filters.state} onChange={(state) => set({ state: state as FindingState | "" })}>
        {[...STATES.map((state): [string, string] => [state, STATE_NAME[state]]), ["", "Every state"]]}
      </Choice>
      <Choice label="Severity" value={filters.min_severity} onChange={(min_severity) => set({ min_severity })}>
        {[
          ["", "Every severity"],
          ...SEVERITIES.slice(0, -1).map((label): [string, string] => [
            String(SEVERITY_FLOOR[label]),
            label === "critical" ? SEVERITY_NAME[label] : `${SEVERITY_NAME[label]} and above`,
          ]),
        ]}
      </Choice>
      <Choice label="Host" value={filters.host} onChange={(host) => set({ host })}>
        {[["", "Every host"], ...withChosen(hosts, filters.host)]}
      </Choice>
      <Choice label="Type" value={filters.type} onChange={(type) => set({ type })}>
        {[["", "Every type"], ...withChosen(types, filters.type)]}
      </Choice>
      <button type="button" className="quiet" disabled={untouched} onClick={() => onChange(OPEN_FILTERS)}>
        <Icon name="cross" size={15} />
        <span>Clear</span>
      </button>
    </search>
  );
}

/** The options, with the chosen one among them even where no finding has it now. */
function withChosen(options: string[], chosen: string): [string, string][] {
  const all = chosen === "" || options.includes(chosen) ? options : [chosen, ...options];
  return all.map((option) => [option, option]);
}

interface ChoiceProps {
  label: string;
  /** The value that filters as usual and is therefore not marked. */
  usual?: string;
  value: string;
  onChange: (value: string) => void;
  children: (readonly string[])[];
}

function Choice({ label, usual = "", value, onChange, children }: ChoiceProps) {
  return (
    <select
      aria-label={label}
      className={value === usual ? undefined : "chosen"}
      value={value}
      onChange={(event) => onChange(event.target.value)}
    >
      {children.map(([key, name]) => (
        <option key={key} value={key}>
          {name}
        </option>
      ))}
    </select>
  );
}

interface SearchProps {
  value: string;
  input: RefObject<HTMLInputElement | null>;
  onChange: (value: string) => void;
}

function Search({ value, input, onChange }: SearchProps) {
  const [text, setText] = useState(value);
  const [reported, setReported] = useState(value);
  // A value that did not come from here (a cleared filter, the back button) replaces the text.
  if (value !== reported) {
    setReported(value);
    setText(value);
  }
  const report = useEffectEvent((typed: string) => {
    setReported(typed);
    onChange(typed);
  });
  useEffect(() => {
    if (text === reported) return undefined;
    const timer = window.setTimeout(() => report(text), TYPING_MS);
    return () => window.clearTimeout(timer);
  }, [text, reported]);
  return (
    <div className="search">
      <Icon name="search" size={16} />
      <input
        ref={input}
        type="search"
        value={text}
        maxLength={200}
        spellCheck={false}
        placeholder="Search title, host, command line…"
        aria-label="Search findings"
        onChange={(event) => setText(event.target.value)}
      />
      <kbd aria-hidden="true">/</kbd>
    </div>
  );
}
