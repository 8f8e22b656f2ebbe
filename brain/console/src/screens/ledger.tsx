import type { LedgerRow } from "../api/types";
import { balance, lostShare, type Balance } from "../text/ledger";
import { plural, whole } from "../text/number";
import { spaced } from "../text/words";
import { Icon } from "../ui/icons";
import { Card } from "../ui/parts";

/** What the hooks saw, and what became of it. */
export function Ledger({ rows }: { rows: LedgerRow[] }) {
  return (
    <Card title="Loss ledger" className="table-card">
      <p className="identity">
        <span>seen</span> = <span>delivered</span> + <span>lost, by reason</span>
      </p>
      <table className="table table-ledger">
        <thead>
          <tr>
            <th scope="col">Signal</th>
            <th scope="col" className="number">
              Seen
            </th>
            <th scope="col" className="number">
              Delivered
            </th>
            <th scope="col" className="number">
              Lost
            </th>
            <th scope="col">Reasons</th>
            <th scope="col">Identity</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row key={row.signal} balance={balance(row)} />
          ))}
        </tbody>
      </table>
    </Card>
  );
}

function Row({ balance }: { balance: Balance }) {
  return (
    <tr>
      <th scope="row" className="cell-main">
        <span className="clip">{spaced(balance.signal)}</span>
      </th>
      <td data-label="Seen" className="number">
        {whole(balance.seen)}
      </td>
      <td data-label="Delivered" className="number">
        {whole(balance.delivered)}
      </td>
      <td data-label="Lost" className="number">
        {balance.lost === 0 ? <span className="muted">0</span> : <span className="lost">{whole(balance.lost)}</span>}{" "}
        {balance.lost > 0 && <span className="muted nowrap">{lostShare(balance)}</span>}
      </td>
      <td data-label="Reasons">
        {balance.reasons.length === 0 ? (
          <span className="muted none">none</span>
        ) : (
          <ul className="reasons">
            {balance.reasons.map((loss) => (
              <li key={loss.reason}>
                <span className="reason clip">{spaced(loss.reason)}</span> <strong>{whole(loss.count)}</strong>
              </li>
            ))}
          </ul>
        )}
      </td>
      <td data-label="Identity">
        <Identity balance={balance} />
      </td>
    </tr>
  );
}

/** The sum is said, not only coloured: it is the promise this table is about. */
function Identity({ balance }: { balance: Balance }) {
  if (balance.open === 0) {
    return (
      <span className="yes">
        <Icon name="check" size={15} />
        <span>holds</span>
      </span>
    );
  }
  if (balance.open > 0) return <span className="muted">{plural(balance.open, "record")} on the way</span>;
  return (
    <span className="no">
      <Icon name="warning" size={15} />
      <span>{whole(-balance.open)} too many</span>
    </span>
  );
}
