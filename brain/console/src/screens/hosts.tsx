import { Link } from "react-router";

import { useHosts } from "../api/queries";
import type { Host } from "../api/types";
import { plural, rate, short } from "../text/number";
import { Empty, Failure, Heading, HostBadge, Loading, Time } from "../ui/parts";

const ORDER = { online: 1, offline: 2, revoked: 3 } as const;

/** What needs a look first: degraded, then online, then those that are gone. */
function rank(host: Host): number {
  return host.state === "online" && host.degraded ? 0 : ORDER[host.state];
}

export function HostsScreen() {
  const hosts = useHosts();
  const sorted = hosts.data && [...hosts.data].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
  return (
    <>
      <Heading title="Hosts">
        {sorted && <p className="heading-note">{plural(sorted.length, "host")}</p>}
      </Heading>
      {sorted === undefined ? (
        hosts.isError ? (
          <Failure error={hosts.error} retry={() => void hosts.refetch()} />
        ) : (
          <Loading what="hosts" />
        )
      ) : sorted.length === 0 ? (
        <Empty icon="hosts" title="No host has joined yet">
          <Link to="/tokens" className="button button-primary">
            Create a join token
          </Link>
        </Empty>
      ) : (
        <div className="card table-card">
          <table className="table table-hosts">
            <thead>
              <tr>
                <th scope="col">Host</th>
                <th scope="col">State</th>
                <th scope="col">Role</th>
                <th scope="col" className="number">
                  Open findings
                </th>
                <th scope="col" className="number">
                  Records/s
                </th>
                <th scope="col">Kernel</th>
                <th scope="col">Sensor</th>
                <th scope="col">Last seen</th>
              </tr>
            </thead>
            <tbody>
              {sorted.map((host) => (
                <HostRow key={host.id} host={host} />
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function HostRow({ host }: { host: Host }) {
  return (
    <tr>
      <th scope="row" className="cell-main">
        <Link to={`/hosts/${encodeURIComponent(host.id)}`} className="name clip">
          {host.name}
        </Link>
      </th>
      <td className="cell-state">
        <HostBadge state={host.state} degraded={host.degraded} />
      </td>
      <td data-label="Role">
        <span className="clip">{host.role}</span>
      </td>
      <td data-label="Open findings" className="number">
        {host.findings_open === 0 ? (
          <span className="muted">0</span>
        ) : (
          <Link to={`/findings?host=${encodeURIComponent(host.name)}`}>{short(host.findings_open)}</Link>
        )}
      </td>
      <td data-label="Records/s" className="number">
        {rate(host.records_per_second)}
      </td>
      <td data-label="Kernel" className="mono">
        <span className="clip">{host.kernel}</span>
      </td>
      <td data-label="Sensor" className="mono">
        <span className="clip">{host.sensor_version}</span>
      </td>
      <td data-label="Last seen">
        <Time time={host.last_seen} />
      </td>
    </tr>
  );
}
