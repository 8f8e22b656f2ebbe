import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useNavigate } from "react-router";

import { api } from "../api/client";
import { PASSWORD_MIN, passwordProblem } from "../text/password";
import { Entry, Field, FormError } from "./entry";

/** The token of the link, read before it is taken out of the address. */
function tokenOfLink(): string {
  return new URLSearchParams(window.location.search).get("token") ?? "";
}

export function SetupScreen() {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [link] = useState(tokenOfLink);
  const [token, setToken] = useState(link);
  const [user, setUser] = useState("admin");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  // The token stays in neither the address bar nor the history.
  useEffect(() => window.history.replaceState(null, "", "/setup"), []);
  const setup = useMutation({
    mutationFn: () => api.setup(token.trim(), user, password),
    onSuccess: (session) => {
      client.setQueryData(["session"], session);
      void navigate("/", { replace: true });
    },
  });
  const problem = passwordProblem(password, again);
  return (
    <Entry title="Set up" lead="Create the account of the administrator. There is no default password.">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (problem === null) setup.mutate();
        }}
      >
        {link === "" && (
          <Field
            label="Set-up token"
            name="token"
            value={token}
            onChange={setToken}
            autoComplete="off"
            hint="The brain prints a set-up link when it starts for the first time. The token is its last part."
          />
        )}
        <Field label="User" name="user" value={user} onChange={setUser} autoComplete="username" />
        <Field
          label="Password"
          name="password"
          type="password"
          value={password}
          onChange={setPassword}
          autoComplete="new-password"
          hint={`At least ${PASSWORD_MIN} characters. A sentence is easy to keep in mind.`}
          focus
        />
        <Field
          label="The same password again"
          name="again"
          type="password"
          value={again}
          onChange={setAgain}
          autoComplete="new-password"
        />
        <p className="hint" aria-live="polite">
          {again === "" ? "" : problem}
        </p>
        <FormError error={setup.error} />
        <button type="submit" className="button button-primary" disabled={setup.isPending || problem !== null}>
          {setup.isPending ? "Creating…" : "Create the account"}
        </button>
      </form>
    </Entry>
  );
}
