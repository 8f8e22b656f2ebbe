import { useMutation, useQueryClient } from "@tanstack/react-query";

import { api } from "../api/client";
import { useTokens } from "../api/queries";
import type { Token } from "../api/types";
import { plural } from "../text/number";
import { Card, Empty, Failure, Heading, Loading, Time } from "../ui/parts";
import { FormError } from "./entry";
import { CreateToken } from "./token-create";

export function TokensScreen() {
  const tokens = useTokens();
  return (
    <>
      <Heading title="Join tokens">
        <p className="heading-note">With one of these a host becomes part of the fleet.</p>
      </Heading>
      <div className="tokens">
        <CreateToken />
        {tokens.data ? (
          <List tokens={tokens.data} />
        ) : tokens.isError ? (
          <Failure error={tokens.error} retry={() => void tokens.refetch()} />
        ) : (
          <Loading what="tokens" />
        )}
      </div>
    </>
  );
}

function List({ tokens }: { tokens: Token[] }) {
  const client = useQueryClient();
  const revoke = useMutation({
    mutationFn: api.revokeToken,
    onSettled: () => client.invalidateQueries({ queryKey: ["tokens"] }),
  });
  return (
    <Card title="Tokens in force" className="table-card" aside={<span className="muted">{tokens.length}</span>}>
      <FormError error={revoke.error} />
      {tokens.length === 0 ? (
        <Empty icon="tokens" title="No token is in force">
          <p>Hosts that have joined already need none.</p>
        </Empty>
      ) : (
        <table className="table">
          <thead>
            <tr>
              <th scope="col">Token</th>
              <th scope="col">Role</th>
              <th scope="col">Uses left</th>
              <th scope="col">Created</th>
              <th scope="col">Expires</th>
              <th scope="col">
                <span className="unseen">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {tokens.map((token) => (
              <tr key={token.id}>
                <th scope="row" className="mono cell-main">
                  {token.id}
                </th>
                <td data-label="Role">{token.role}</td>
                <td data-label="Uses left">{plural(token.uses_left, "host")}</td>
                <td data-label="Created">
                  <Time time={token.created} />
                </td>
                <td data-label="Expires">
                  <Time time={token.expires} />
                </td>
                <td className="cell-actions">
                  <button
                    type="button"
                    className="quiet quiet-danger"
                    disabled={revoke.isPending}
                    onClick={() => revoke.mutate(token.id)}
                    aria-label={`Revoke token ${token.id}`}
                  >
                    Revoke
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Card>
  );
}
