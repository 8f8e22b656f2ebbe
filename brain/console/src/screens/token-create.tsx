import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";

import { api } from "../api/client";
import type { CreatedToken } from "../api/types";
import { brainAddress, joinCommand } from "../text/join";
import { plural } from "../text/number";
import { Icon } from "../ui/icons";
import { Card, Time } from "../ui/parts";
import { FormError } from "./entry";

const SPANS: readonly [string, number][] = [
  ["1 hour", 3_600],
  ["24 hours", 86_400],
  ["7 days", 604_800],
  ["30 days", 2_592_000],
];
const USES_MAX = 10_000;

export function CreateToken() {
  const client = useQueryClient();
  const [role, setRole] = useState("web");
  const [uses, setUses] = useState("1");
  const [span, setSpan] = useState(86_400);
  const create = useMutation({
    mutationFn: () => api.createToken(role.trim(), Number(uses), span),
    onSuccess: () => client.invalidateQueries({ queryKey: ["tokens"] }),
  });
  return (
    <Card title="Create a token" className="token-create">
      <form
        className="token-form"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <label>
          <span className="field-label">Role of the hosts</span>
          <input
            value={role}
            required
            maxLength={64}
            pattern="[A-Za-z0-9][A-Za-z0-9._\-]*"
            title="Letters, digits, dot, underscore and hyphen"
            spellCheck={false}
            autoCapitalize="none"
            onChange={(event) => setRole(event.target.value)}
          />
        </label>
        <label>
          <span className="field-label">Hosts that may use it</span>
          <input
            type="number"
            value={uses}
            required
            min={1}
            max={USES_MAX}
            onChange={(event) => setUses(event.target.value)}
          />
        </label>
        <label>
          <span className="field-label">Good for</span>
          <select value={span} onChange={(event) => setSpan(Number(event.target.value))}>
            {SPANS.map(([name, seconds]) => (
              <option key={seconds} value={seconds}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <button type="submit" className="button button-primary" disabled={create.isPending}>
          {create.isPending ? "Creating…" : "Create token"}
        </button>
      </form>
      <FormError error={create.error} />
      <div aria-live="polite">{create.data && <Created key={create.data.id} token={create.data} />}</div>
    </Card>
  );
}

function Created({ token }: { token: CreatedToken }) {
  const [address, setAddress] = useState(() => brainAddress(window.location.hostname));
  return (
    <div className="created">
      <p className="created-lead">
        <Icon name="warning" size={18} />
        <span>
          <strong>Shown this once.</strong> The brain keeps only a hash of it. Good for {plural(token.uses_left, "host")},
          expires <Time time={token.expires} />.
        </span>
      </p>
      <label>
        <span className="field-label">Address of the brain, as the host reaches it</span>
        <input value={address} spellCheck={false} onChange={(event) => setAddress(event.target.value)} />
      </label>
      <Copyable label="Run on the host" text={joinCommand(address.trim(), token.token)} />
      <Copyable label="Only the token" text={token.token} />
    </div>
  );
}

function Copyable({ label, text }: { label: string; text: string }) {
  const code = useRef<HTMLElement>(null);
  const [said, say] = useState("");
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      // Without TLS a browser gives no clipboard; the text is then selected for the keyboard.
      if (code.current) window.getSelection()?.selectAllChildren(code.current);
      say("Selected: copy it with the keyboard");
    }
  };
  return (
    <div className="copyable">
      <p className="field-label">
        {label} <span role="status">{said}</span>
      </p>
      <div className="copyable-box">
        <code ref={code}>{text}</code>
        <button type="button" className="quiet" onClick={() => void copy()} aria-label={`Copy: ${label}`}>
          <Icon name="copy" size={17} />
        </button>
      </div>
    </div>
  );
}
