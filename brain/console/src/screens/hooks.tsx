import type { Hook } from "../api/types";
import { Icon } from "../ui/icons";
import { Card } from "../ui/parts";

/** Each hook of the sensor: how it is attached, or why not. Missing ones stand first. */
export function Hooks({ hooks }: { hooks: Hook[] }) {
  const missing = hooks.filter((hook) => !hook.attached);
  const sorted = [...missing, ...hooks.filter((hook) => hook.attached)];
  return (
    <Card
      title="Hooks"
      className="table-card"
      aside={<span className="muted">{missing.length === 0 ? "all attached" : `${missing.length} not attached`}</span>}
    >
      <table className="table table-hooks">
        <thead>
          <tr>
            <th scope="col">Hook</th>
            <th scope="col">Attached</th>
            <th scope="col">Remark</th>
          </tr>
        </thead>
        <tbody>
          {sorted.map((hook, index) => (
            <tr key={`${hook.name} ${index}`} className={hook.attached ? undefined : "row-missing"}>
              <th scope="row" className="mono cell-main">
                <span className="clip">{hook.name}</span>
              </th>
              <td data-label="Attached" className="mono">
                <span className={hook.attached ? "yes" : "no"}>
                  <Icon name={hook.attached ? "check" : "cross"} size={15} />
                  <span className="clip">{hook.attached ?? "not attached"}</span>
                </span>
              </td>
              <td data-label="Remark">{hook.reason ? <p className="scroll">{hook.reason}</p> : <span className="muted none">—</span>}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Card>
  );
}
