import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { api } from "../api/client";
import { Entry, Field, FormError } from "./entry";

export function LoginScreen() {
  const client = useQueryClient();
  const [user, setUser] = useState("");
  const [password, setPassword] = useState("");
  const login = useMutation({
    mutationFn: () => api.login(user, password),
    onSuccess: (session) => client.setQueryData(["session"], session),
    onError: () => setPassword(""),
  });
  return (
    <Entry title="Sign in" lead="The keeper of the cherry trees watches over this fleet.">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          login.mutate();
        }}
      >
        <Field label="User" name="user" value={user} onChange={setUser} autoComplete="username" focus />
        <Field
          label="Password"
          name="password"
          type="password"
          value={password}
          onChange={setPassword}
          autoComplete="current-password"
        />
        <FormError error={login.error} />
        <button type="submit" className="button button-primary" disabled={login.isPending}>
          {login.isPending ? "Signing in…" : "Sign in"}
        </button>
      </form>
    </Entry>
  );
}
