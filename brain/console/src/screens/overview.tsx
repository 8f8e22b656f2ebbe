import { Link } from "react-router";

import { useFindings, useHosts, useOverview } from "../api/queries";
import { useLive } from "../api/store";
import type { Overview } from "../api/types";
import { arrange } from "../text/arrange";
import { plural, rate, short, whole } from "../text/number";
import { SEVERITIES, SEVERITY_FLOOR, SEVERITY_NAME, spaced } from "../text/words";
import { Card, Empty, Failure, Heading, HostBadge, Loading, Time } from "../ui/parts";
import { FindingRow } from "./finding-row";
import { OPEN_FILTERS } from "./findings-filters";
import { Sparkline } from "./sparkline";

const LATEST = 7;
const HOSTS_SHOWN = 6;

export function OverviewScreen() {
  const overview = useOverview();
  return (
    <>
      <Heading title="Overview">
        {overview.data && (
          <p className="heading-note">
            Brain started <Time time={overview.data.started} />
          </p>
        )}
      </Heading>
      {overview.data ? (
        <div className="overview">
          <SeverityCard overview={overview.data} />
          <HostsCard overview={overview.data} />
          <RecordsCard overview={overview.data} />
          <LatestCard overview={overview.data} />
          <LossCard overview={overview.data} />
          <FleetCard />
        </div>
      ) : overview.isError ? (
        <Failure error={overview.error} retry={() => void overview.refetch()} />
      ) : (
        <Loading what="the overview" />
      )}
    </>
  );
}

function SeverityCard({ overview }: { overview: Overview }) {
  const { open, by_severity } = overview.findings;
  return (
    <Card
      title="Open findings"
      className="card-severity"
      aside={<span className="card-number">{short(open)}</span>}
    >
      <ul className="severity-counts">
        {SEVERITIES.map((label) => (
          <li key={label}>
            <Link
              to={`/findings?min_severity=${SEVERITY_FLOOR[label]}`}
              className={`severity-count severity-${label}${by_severity[label] === 0 ? " severity-none" : ""}`}
            >
              <span className="severity-count-number">{short(by_severity[label])}</span>
              <span>{SEVERITY_NAME[label]}</span>
            </Link>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function HostsCard({ overview }: { overview: Overview }) {
  const { total, online, degraded } = overview.hosts;
  const offline = total - online;
  return (
    <Card title="Hosts online" className="card-hosts">
      <p className="big">
        {short(online)}
        <span className="big-of"> of {short(total)}</span>
      </p>
      <div className="bar-track" aria-hidden="true">
        <span className="bar-good" style={{ flexGrow: Math.max(online - degraded, 0) }} />
        <span className="bar-warn" style={{ flexGrow: degraded }} />
        <span className="bar-off" style={{ flexGrow: offline }} />
      </div>
      <p className="card-note">
        {total === 0 ? "No host has joined yet" : degraded === 0 ? "None is degraded" : `${short(degraded)} degraded`}
        {offline > 0 && `, ${short(offline)} offline`}
      </p>
    </Card>
  );
}

function RecordsCard({ overview }: { overview: Overview }) {
  const rates = useLive((state) => state.rates);
  return (
    <Card title="Records each second" className="card-records">
      <p className="big">{rate(overview.records_per_second)}</p>
      <Sparkline values={rates} />
      <p className="card-note">
        {plural(overview.batches.received, "batch", "batches")}, {whole(overview.batches.duplicate)} sent twice and
        dropped
      </p>
    </Card>
  );
}

function LatestCard({ overview }: { overview: Overview }) {
  const query = useFindings(OPEN_FILTERS, LATEST);
  const fresh = useLive((state) => state.findings);
  const base = query.data?.pages[0]?.findings;
  // This card is a window on the newest: everything that arrived is taken in at once.
  const rows = base && arrange(base, fresh, OPEN_FILTERS, new Set(fresh.keys()), false).rows;
  return (
    <Card
      title="Latest findings"
      className="card-latest"
      aside={
        <Link to="/findings" className="more">
          All findings
        </Link>
      }
    >
      {rows === undefined ? (
        query.isError ? <Failure error={query.error} /> : <Loading what="findings" />
      ) : rows.length === 0 ? (
        <Empty icon="findings" title="No open finding">
          <p>{certainty(overview)}</p>
        </Empty>
      ) : (
        <ol className="rows rows-compact">
          {rows.slice(0, LATEST).map((finding) => (
            <FindingRow key={finding.id} finding={finding} />
          ))}
        </ol>
      )}
    </Card>
  );
}

/** What "none" is worth: it is no answer for a host that nobody hears or that hears badly. */
function certainty({ hosts }: Overview): string {
  if (hosts.total === 0) return "No host has joined yet, so nothing can be found.";
  const unheard = hosts.total - hosts.online + hosts.degraded;
  if (unheard === 0) return "Every host is online and none is degraded.";
  return `What happens on ${plural(unheard, "host")}, offline or degraded, is not fully known.`;
}

function LossCard({ overview }: { overview: Overview }) {
  const reasons = overview.lost.by_reason.filter((loss) => loss.count > 0);
  const most = Math.max(...reasons.map((loss) => loss.count), 1);
  return (
    <Card
      title="Records lost"
      className="card-loss"
      aside={<span className="card-number">{short(overview.lost.total)}</span>}
    >
      {reasons.length === 0 ? (
        <p className="card-note">{overview.hosts.total === 0 ? "No host has reported yet." : "No host reports a loss."}</p>
      ) : (
        <ul className="losses">
          {reasons.map((loss) => (
            <li key={`${loss.signal} ${loss.reason}`}>
              <span className="loss-name">
                {spaced(loss.signal)} <span className="muted">{spaced(loss.reason)}</span>
              </span>
              <span className="loss-count">{whole(loss.count)}</span>
              <span className="loss-bar" aria-hidden="true" style={{ inlineSize: `${(100 * loss.count) / most}%` }} />
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function FleetCard() {
  const hosts = useHosts();
  const worst = [...(hosts.data ?? [])].sort(
    (a, b) => b.findings_open - a.findings_open || a.name.localeCompare(b.name),
  );
  return (
    <Card
      title="Hosts with findings"
      className="card-fleet"
      aside={
        <Link to="/hosts" className="more">
          All hosts
        </Link>
      }
    >
      {worst.length === 0 ? (
        <p className="card-note">
          {hosts.isError ? "The hosts could not be read." : <>No host yet. <Link to="/tokens">Create a join token</Link>.</>}
        </p>
      ) : (
        <ul className="fleet">
          {worst.slice(0, HOSTS_SHOWN).map((host) => (
            <li key={host.id}>
              <Link to={`/hosts/${encodeURIComponent(host.id)}`} className="name">
                {host.name}
              </Link>
              <HostBadge state={host.state} degraded={host.degraded} />
              <span className="fleet-count">
                {host.findings_open === 0 ? <span className="muted">none open</span> : `${short(host.findings_open)} open`}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}
