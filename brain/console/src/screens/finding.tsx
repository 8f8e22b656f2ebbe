import { Link, useParams } from "react-router";

import { useFinding } from "../api/queries";
import type { Finding } from "../api/types";
import { plural } from "../text/number";
import { absolute, between } from "../text/time";
import { COVERAGE_NAME, EXACTNESS, STATE_NAME, techniqueUrl } from "../text/words";
import { Icon, type IconName } from "../ui/icons";
import { Card, Fact, Failure, Heading, Loading, Severity, StateBadge, Time } from "../ui/parts";
import { Triage } from "./finding-triage";
import { ProcessTree } from "./process-tree";
import { Timeline } from "./timeline";

export function FindingScreen() {
  const { id = "" } = useParams();
  const query = useFinding(id);
  return (
    <>
      <Link to="/findings" className="back">
        <Icon name="back" size={16} />
        Findings
      </Link>
      {query.data ? (
        <Page key={id} finding={query.data} />
      ) : query.isError ? (
        <>
          <Heading title="Finding" />
          <Failure error={query.error} retry={() => void query.refetch()} />
        </>
      ) : (
        <Loading what="the finding" />
      )}
    </>
  );
}

function Page({ finding }: { finding: Finding }) {
  return (
    <article className="finding">
      <header className={`finding-head finding-${finding.severity_label}`}>
        <div className="finding-marks">
          <Severity value={finding.severity} label={finding.severity_label} />
          <StateBadge state={finding.state} />
        </div>
        <Heading title={finding.title} />
        <p className="finding-type">
          <code>{finding.type}</code>
          {finding.guardduty_type && (
            <span className="muted">
              GuardDuty calls it <code>{finding.guardduty_type}</code>
            </span>
          )}
        </p>
        <Seen finding={finding} />
      </header>
      <div className="finding-main">
        <Card title="What it means">
          <p className="prose">{finding.description}</p>
          <h3>What to do first</h3>
          <p className="prose">{finding.remediation}</p>
        </Card>
        <Card title="Process tree">
          <ProcessTree process={finding.process} lineage={finding.lineage} />
        </Card>
        <Card title="Evidence" aside={<span className="muted">{plural(finding.evidence.length, "entry", "entries")}</span>}>
          <Timeline evidence={finding.evidence} dropped={finding.evidence_dropped} />
        </Card>
      </div>
      <div className="finding-side">
        <Triage finding={finding} />
        <Actors finding={finding} />
        <Techniques finding={finding} />
        <Certainty finding={finding} />
        <Origin finding={finding} />
        <History finding={finding} />
      </div>
    </article>
  );
}

function Seen({ finding }: { finding: Finding }) {
  return (
    <dl className="facts facts-line">
      <Fact name="Host">
        <Link to={`/hosts/${encodeURIComponent(finding.host.id)}`} className="name">
          {finding.host.name}
        </Link>{" "}
        <span className="muted">{finding.host.role}</span>
      </Fact>
      <Fact name="Seen">
        {plural(finding.count, "time")} <span className="muted">{between(finding.first_seen, finding.last_seen)}</span>
      </Fact>
      <Fact name="First seen">
        <Time time={finding.first_seen} /> <span className="muted nowrap">{absolute(finding.first_seen)}</span>
      </Fact>
      <Fact name="Last seen">
        <Time time={finding.last_seen} /> <span className="muted nowrap">{absolute(finding.last_seen)}</span>
      </Fact>
    </dl>
  );
}

const ACTOR_ICON: ReadonlyMap<string, IconName> = new Map([
  ["address", "address"],
  ["process", "process"],
  ["host", "hosts"],
]);

function Actors({ finding }: { finding: Finding }) {
  if (finding.actors.length === 0) return null;
  return (
    <Card title="Actors">
      <ul className="actors">
        {finding.actors.map((actor, index) => (
          <li key={index}>
            <Icon name={ACTOR_ICON.get(actor.kind) ?? "user"} size={16} />
            <span className="mono">{actor.value}</span>
            <span className="muted clip">{actor.kind}</span>
          </li>
        ))}
      </ul>
      {(finding.actors_dropped ?? 0) > 0 && (
        <p className="card-note">and {plural(finding.actors_dropped ?? 0, "more actor")} that are not kept</p>
      )}
    </Card>
  );
}

function Techniques({ finding }: { finding: Finding }) {
  if (finding.mitre.length === 0) return null;
  return (
    <Card title="MITRE ATT&CK">
      <ul className="techniques">
        {finding.mitre.map((entry, index) => {
          const url = techniqueUrl(entry.technique);
          const text = (
            <>
              <span className="mono">{entry.technique}</span>
              <span>{entry.name}</span>
              <span className="muted">{entry.tactic}</span>
            </>
          );
          return (
            <li key={index}>
              {url ? (
                <a className="technique" href={url} target="_blank" rel="noopener noreferrer">
                  {text}
                  <Icon name="outside" size={14} />
                </a>
              ) : (
                <span className="technique">{text}</span>
              )}
            </li>
          );
        })}
      </ul>
    </Card>
  );
}

function Certainty({ finding }: { finding: Finding }) {
  // A brain newer than this page may know more kinds than it does.
  const exactness = EXACTNESS[finding.exactness] ?? { name: finding.exactness, meaning: "" };
  const coverage = finding.coverage;
  return (
    <Card title="How sure this is">
      <dl className="certainty">
        <dt className={`sure sure-${finding.exactness}`}>{exactness.name}</dt>
        <dd>{exactness.meaning}</dd>
        <dt className={`sure sure-${coverage.state}`}>{COVERAGE_NAME[coverage.state] ?? coverage.state}</dt>
        <dd>{coverage.detail}</dd>
      </dl>
    </Card>
  );
}

function Origin({ finding }: { finding: Finding }) {
  const { policy } = finding;
  return (
    <Card title="Policy">
      <dl className="facts">
        <Fact name="Policy" mono>
          {policy.id}
        </Fact>
        <Fact name="File" mono>
          {policy.file}
        </Fact>
        <Fact name="Revision" mono>
          {policy.revision}
        </Fact>
        {policy.author && <Fact name="Author">{policy.author}</Fact>}
        <Fact name="Finding" mono>
          {finding.id}
        </Fact>
        <Fact name="Merged by" mono>
          {finding.dedup_key}
        </Fact>
      </dl>
    </Card>
  );
}

function History({ finding }: { finding: Finding }) {
  if (finding.history.length === 0) return null;
  return (
    <Card title="History">
      <ol className="history">
        {[...finding.history].reverse().map((entry, index) => (
          <li key={finding.history.length - index}>
            <p>
              <strong>{STATE_NAME[entry.state] ?? entry.state}</strong>
              {entry.user && <> by {entry.user}</>} <span className="muted"><Time time={entry.time} /></span>
            </p>
            {entry.note && <p className="history-note">{entry.note}</p>}
          </li>
        ))}
      </ol>
    </Card>
  );
}
