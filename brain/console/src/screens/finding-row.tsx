import { Link } from "react-router";

import type { Finding } from "../api/types";
import { short } from "../text/number";
import { Severity, StateBadge, Time } from "../ui/parts";

/** One finding in a list. The title's link covers the whole row. */
export function FindingRow({ finding, arrived = false }: { finding: Finding; arrived?: boolean }) {
  return (
    <li className={`row row-${finding.severity_label}${arrived ? " row-arrived" : ""}`}>
      <Severity value={finding.severity} label={finding.severity_label} />
      <div className="row-what">
        <Link to={`/findings/${encodeURIComponent(finding.id)}`} className="row-title">
          {finding.title}
        </Link>
        <span className="row-type">{finding.type}</span>
      </div>
      <span className="row-host">
        <span className="row-label">Host</span>
        {finding.host.name}
      </span>
      <span className="row-state">
        <StateBadge state={finding.state} />
      </span>
      <span className="row-count" title={`Seen ${finding.count} times`}>
        <span className="row-label">Seen</span>
        {short(finding.count)}×
      </span>
      <span className="row-time row-first">
        <span className="row-label">First</span>
        <Time time={finding.first_seen} />
      </span>
      <span className="row-time">
        <span className="row-label">Last</span>
        <Time time={finding.last_seen} />
      </span>
    </li>
  );
}
