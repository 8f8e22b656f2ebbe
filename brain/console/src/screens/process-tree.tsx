import type { Process } from "../api/types";
import { absolute, clock, day } from "../text/time";
import { branches, owner, type Branch } from "../text/tree";
import { flag } from "../text/words";

/** Deeper than this nothing is indented further: a narrow screen has no room for it. */
const DEPTH_DRAWN = 8;

export function ProcessTree({ process, lineage }: { process: Process | null; lineage: Process[] }) {
  const tree = branches(process, lineage);
  if (tree.length === 0) {
    return <p className="card-note">No process is known for this: it was seen on the network alone.</p>;
  }
  return (
    <ol className="tree">
      {tree.map((branch) => (
        <Node key={`${branch.process.pid} ${branch.process.start_time} ${branch.depth}`} branch={branch} />
      ))}
    </ol>
  );
}

function Node({ branch }: { branch: Branch }) {
  const { process, subject } = branch;
  const depth = Math.min(branch.depth, DEPTH_DRAWN);
  return (
    <li
      className={`node node-depth-${depth}${subject ? " node-subject" : ""}`}
      aria-current={subject ? "true" : undefined}
      aria-label={`Level ${branch.depth + 1}: ${process.name}`}
    >
      <div className="node-box">
        <p className="node-top">
          <strong className="mono">{process.name}</strong>
          <span className="node-pid">pid {process.pid}</span>
          <span className={branch.userChanged ? "node-user node-user-changed" : "node-user"}>
            {owner(process)}
            {branch.userChanged && " (changed here)"}
          </span>
          {subject && <span className="badge badge-subject">this process</span>}
          {process.flags.map((name) => (
            <span key={name} className="badge">
              {flag(name)}
            </span>
          ))}
        </p>
        {process.command_line !== "" && <p className="node-line mono">{process.command_line}</p>}
        <p className="node-more muted">
          <span className="mono">{process.executable}</span>
          <time dateTime={process.start_time} title={absolute(process.start_time)}>
            started {day(process.start_time)} {clock(process.start_time)}
          </time>
          {subject && process.cgroup && <span className="mono">cgroup {process.cgroup}</span>}
          {subject && process.container && <span className="mono">container {process.container}</span>}
        </p>
      </div>
    </li>
  );
}
