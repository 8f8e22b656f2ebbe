/** The frame of the two screens outside: set-up and sign-in. */

import { useEffect, type ReactNode } from "react";

import { Brand } from "../ui/mark";
import { sentence } from "../ui/parts";
import { ThemeSwitch } from "../ui/theme";

export function Entry({ title, lead, children }: { title: string; lead: string; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Sakuramori`;
  }, [title]);
  return (
    <main className="entry">
      <div className="entry-card">
        <Brand large />
        <h1>{title}</h1>
        <p className="entry-lead">{lead}</p>
        {children}
      </div>
      <ThemeSwitch />
    </main>
  );
}

interface FieldProps {
  label: string;
  name: string;
  value: string;
  onChange: (value: string) => void;
  type?: "text" | "password";
  autoComplete: string;
  hint?: string;
  focus?: boolean;
}

export function Field({ label, name, value, onChange, type = "text", autoComplete, hint, focus = false }: FieldProps) {
  return (
    <div className="field">
      <label htmlFor={name}>{label}</label>
      <input
        id={name}
        name={name}
        type={type}
        value={value}
        required
        autoFocus={focus}
        autoComplete={autoComplete}
        autoCapitalize="none"
        spellCheck={false}
        aria-describedby={hint ? `${name}-hint` : undefined}
        onChange={(event) => onChange(event.target.value)}
      />
      {hint && (
        <p className="hint" id={`${name}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

export function FormError({ error }: { error: unknown }) {
  return (
    <div role="alert" className="form-error-place">
      {error ? <p className="form-error">{sentence(error)}</p> : null}
    </div>
  );
}
