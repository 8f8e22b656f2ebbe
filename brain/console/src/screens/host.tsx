import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { Link, useParams } from "react-router";

import { api } from "../api/client";
import { useHost } from "../api/queries";
import type { Coverage, Host } from "../api/types";
import { bytes, plural, rate } from "../text/number";
import { clockState } from "../text/time";
import { Icon } from "../ui/icons";
import { Card, Empty, Fact, Failure, Heading, HostBadge, Loading, Time } from "../ui/parts";
import { FormError } from "./entry";
import { Hooks } from "./hooks";
import { Ledger } from "./ledger";

export function HostScreen() {
  const { id = "" } = useParams();
  const host = useHost(id);
  return (
    <>
      <Link to="/hosts" className="back">
        <Icon name="back" size={16} />
        Hosts
      </Link>
      {host.data ? (
        <Page key={id} host={host.data} />
      ) : host.isError ? (
        <>
          <Heading title="Host" />
          <Failure error={host.error} retry={() => void host.refetch()} />
        </>
      ) : (
        <Loading what="the host" />
      )}
    </>
  );
}

function Page({ host }: { host: Host }) {
  return (
    <div className="host">
      <Heading title={host.name}>
        <HostBadge state={host.state} degraded={host.degraded} />
        <span className="heading-note clip">role {host.role}</span>
        <Link className="button heading-end" to={`/findings?host=${encodeURIComponent(host.name)}`}>
          {plural(host.findings_open, "open finding")}
        </Link>
      </Heading>
      <div className="host-cards">
        <Machine host={host} />
        <Sensor host={host} />
      </div>
      {host.coverage ? (
        <>
          <Ledger rows={host.coverage.ledger} />
          <Hooks hooks={host.coverage.hooks} />
        </>
      ) : (
        <Empty icon="hosts" title="This host has not reported its coverage yet">
          <p>What its sensor could not see is therefore unknown.</p>
        </Empty>
      )}
      {host.state !== "revoked" && <Revoke host={host} />}
    </div>
  );
}

function Machine({ host }: { host: Host }) {
  return (
    <Card title="Host">
      <dl className="facts facts-grid">
        <Fact name="Last seen">
          <Time time={host.last_seen} />
        </Fact>
        <Fact name="Connected">{host.connected_since ? <Time time={host.connected_since} /> : "no"}</Fact>
        {host.enrolled && (
          <Fact name="Joined">
            <Time time={host.enrolled} />
          </Fact>
        )}
        {host.certificate_expires && (
          <Fact name="Certificate ends">
            <Time time={host.certificate_expires} />
          </Fact>
        )}
        <Fact name="Address" mono>
          {host.address ?? "—"}
        </Fact>
        <Fact name="Kernel" mono>
          {host.kernel}
        </Fact>
        <Fact name="Processors">{host.cpus}</Fact>
        <Fact name="Clock">{clockState(host)}</Fact>
        {host.clock_stepped && (
          <Fact name="Clock set">
            {host.clock_steps} {host.clock_steps === 1 ? "time" : "times"}, last <Time time={host.clock_stepped} />
          </Fact>
        )}
        <Fact name="Boot" mono>
          {host.boot_id}
        </Fact>
        <Fact name="Identity" mono>
          {host.id}
        </Fact>
      </dl>
    </Card>
  );
}

function Sensor({ host }: { host: Host }) {
  const coverage: Coverage | null = host.coverage;
  return (
    <Card title="Sensor">
      <dl className="facts facts-grid">
        <Fact name="Version" mono>
          {host.sensor_version}
        </Fact>
        <Fact name="Records each second">{rate(host.records_per_second)}</Fact>
        <Fact name="Processor use">{coverage ? `${coverage.cpu_percent.toFixed(2)} %` : "—"}</Fact>
        <Fact name="Memory">{coverage ? bytes(coverage.memory_bytes) : "—"}</Fact>
        <Fact name="Drain lag">{coverage ? `${coverage.drain_lag_ms.toFixed(1)} ms` : "—"}</Fact>
        <Fact name="Hooks attached">
          {coverage ? `${coverage.hooks.filter((hook) => hook.attached).length} of ${coverage.hooks.length}` : "—"}
        </Fact>
        <Fact name="Reported">{coverage ? <Time time={coverage.updated} /> : "never"}</Fact>
      </dl>
    </Card>
  );
}

function Revoke({ host }: { host: Host }) {
  const client = useQueryClient();
  const dialog = useRef<HTMLDialogElement>(null);
  const revoke = useMutation({
    mutationFn: () => api.revokeHost(host.id),
    onSuccess: (changed) => {
      client.setQueryData(["host", host.id], changed);
      void client.invalidateQueries({ queryKey: ["hosts"] });
      dialog.current?.close();
    },
  });
  return (
    <div className="danger">
      <p className="muted">Revoking refuses this host's certificate from now on. To come back, it must join again.</p>
      <button type="button" className="button button-danger" onClick={() => dialog.current?.showModal()}>
        Revoke this host
      </button>
      <dialog ref={dialog} aria-labelledby="revoke-title">
        <h2 id="revoke-title">Revoke {host.name}?</h2>
        <p>Its sensor is disconnected at once and nothing it sends is taken any more. Its findings stay.</p>
        <FormError error={revoke.error} />
        <div className="buttons">
          <button type="button" className="button" onClick={() => dialog.current?.close()}>
            Keep it
          </button>
          <button
            type="button"
            className="button button-danger"
            disabled={revoke.isPending}
            onClick={() => revoke.mutate()}
          >
            Revoke
          </button>
        </div>
      </dialog>
    </div>
  );
}
