import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api } from "../api/client";
import type { Finding, FindingState } from "../api/types";
import { Card } from "../ui/parts";
import { FormError } from "./entry";

const NOTE_MAX = 2_000;

const STEPS: Record<FindingState, { to: FindingState; name: string; primary?: boolean }[]> = {
  open: [
    { to: "acknowledged", name: "Acknowledge", primary: true },
    { to: "archived", name: "Archive" },
  ],
  acknowledged: [
    { to: "archived", name: "Archive", primary: true },
    { to: "open", name: "Reopen" },
  ],
  archived: [{ to: "open", name: "Reopen", primary: true }],
  suppressed: [
    { to: "open", name: "Open all the same", primary: true },
    { to: "archived", name: "Archive" },
  ],
};

const MEANING: Record<FindingState, string> = {
  open: "Nobody has taken this finding yet.",
  acknowledged: "Somebody is looking into it.",
  archived: "Done with. A new sighting is counted here.",
  suppressed: "A policy says that nobody needs to be told. The history names it, with who answers for it and until when.",
};

/** The finding's state, and the ways out of it. */
export function Triage({ finding }: { finding: Finding }) {
  const client = useQueryClient();
  const [note, setNote] = useState("");
  const change = useMutation({
    mutationFn: (state: FindingState) => api.setState(finding.id, state, note.trim()),
    onSuccess: (changed) => {
      setNote("");
      client.setQueryData(["finding", finding.id], changed);
      void client.invalidateQueries({ queryKey: ["findings"] });
      void client.invalidateQueries({ queryKey: ["overview"] });
    },
  });
  return (
    <Card title="Triage" className="triage">
      <p className="card-note" aria-live="polite">
        {MEANING[finding.state]}
      </p>
      <label className="field-label" htmlFor="note">
        Note
      </label>
      <textarea
        id="note"
        rows={2}
        maxLength={NOTE_MAX}
        value={note}
        placeholder="What you found, or why it is fine"
        onChange={(event) => setNote(event.target.value)}
      />
      <FormError error={change.error} />
      <div className="buttons">
        {(STEPS[finding.state] ?? []).map((step) => (
          <button
            key={step.to}
            type="button"
            className={step.primary ? "button button-primary" : "button"}
            disabled={change.isPending}
            onClick={() => change.mutate(step.to)}
          >
            {step.name}
          </button>
        ))}
      </div>
    </Card>
  );
}
