import { useState } from "react";

import type { Evidence } from "../api/types";
import { plural } from "../text/number";
import { absolute, clock, day, offset } from "../text/time";
import { fieldText, spaced } from "../text/words";

/** A scan brings many entries; the first ones tell the story. */
const SHOWN = 12;

export function Timeline({ evidence, dropped }: { evidence: Evidence[]; dropped: number }) {
  const [all, showAll] = useState(false);
  const ordered = evidence.toSorted((a, b) => (a.time < b.time ? -1 : 1));
  const first = ordered[0];
  if (!first) return <p className="card-note">No record is kept for this finding.</p>;
  const shown = all ? ordered : ordered.slice(0, SHOWN);
  return (
    <>
      <p className="card-note">{day(first.time)}, times in UTC</p>
      <ol className="timeline">
        {shown.map((entry, index) => (
          <Entry key={index} entry={entry} start={first.time} />
        ))}
      </ol>
      {evidence.length > shown.length && (
        <button type="button" className="button" onClick={() => showAll(true)}>
          Show {plural(evidence.length - shown.length, "more entry", "more entries")}
        </button>
      )}
      {dropped > 0 && (
        <p className="card-note">{plural(dropped, "further entry was", "further entries were")} counted but not kept.</p>
      )}
    </>
  );
}

function Entry({ entry, start }: { entry: Evidence; start: string }) {
  const fields = Object.entries(entry.fields ?? {});
  return (
    <li className="entry-row">
      <time className="entry-time mono" dateTime={entry.time} title={absolute(entry.time)}>
        {clock(entry.time)}
        <span className="muted">{offset(start, entry.time)}</span>
      </time>
      <div className="entry-what">
        <p>
          <span className="badge">{spaced(entry.kind)}</span> {entry.summary}
        </p>
        {fields.length > 0 && (
          <dl className="fields">
            {fields.map(([name, value]) => (
              <div key={name}>
                <dt>{spaced(name)}</dt>
                <dd className="mono">{fieldText(value)}</dd>
              </div>
            ))}
          </dl>
        )}
      </div>
    </li>
  );
}
