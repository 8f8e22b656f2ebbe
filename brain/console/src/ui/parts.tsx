/** The small parts that every screen is made of. */

import { useEffect, useRef, type ReactNode } from "react";

import { ApiError } from "../api/client";
import type { FindingState, HostState, SeverityLabel } from "../api/types";
import { absolute, relative } from "../text/time";
import { SEVERITY_NAME, STATE_NAME } from "../text/words";
import { useClock } from "./clock";
import { Icon, type IconName } from "./icons";
import { Blossom } from "./mark";

/** A time relative to now, with the exact one for pointer and screen reader. */
export function Time({ time }: { time: string | null }) {
  const text = useClock((now) => (time === null ? "never" : relative(time, now)));
  if (time === null) return <span>{text}</span>;
  return (
    <time dateTime={time} title={absolute(time)}>
      {text}
    </time>
  );
}

/** Severity as colour, number and word, so that none of the three has to be seen. */
export function Severity({ value, label }: { value: number; label: SeverityLabel }) {
  return (
    <span className={`severity severity-${label}`}>
      <span className="severity-value">{value.toFixed(1)}</span>
      <span className="severity-name">{SEVERITY_NAME[label]}</span>
    </span>
  );
}

export function StateBadge({ state }: { state: FindingState }) {
  return <span className={`badge badge-${state}`}>{STATE_NAME[state]}</span>;
}

export function HostBadge({ state, degraded }: { state: HostState; degraded: boolean }) {
  const look = state === "online" && degraded ? "degraded" : state;
  const name = { online: "Online", offline: "Offline", revoked: "Revoked", degraded: "Degraded" }[look];
  return (
    <span className={`badge badge-${look}`}>
      <span className="dot" />
      {name}
    </span>
  );
}

/** The page's heading. It takes the focus when a screen opens, so that a screen reader says where one is. */
export function Heading({ title, children }: { title: string; children?: ReactNode }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  useEffect(() => {
    document.title = `${title} · Sakuramori`;
  }, [title]);
  return (
    <header className="heading">
      <h1 ref={heading} tabIndex={-1}>
        {title}
      </h1>
      {children}
    </header>
  );
}

interface CardProps {
  title: string;
  aside?: ReactNode;
  className?: string;
  children: ReactNode;
}

export function Card({ title, aside, className = "", children }: CardProps) {
  const id = `card-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return (
    <section className={`card ${className}`} aria-labelledby={id}>
      <header className="card-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}

export function Loading({ what }: { what: string }) {
  return (
    <div className="notice notice-loading" role="status">
      <Blossom size={36} />
      <p>Reading {what}…</p>
    </div>
  );
}

export function Empty({ icon = "empty", title, children }: { icon?: IconName; title: string; children?: ReactNode }) {
  return (
    <div className="notice">
      <Icon name={icon} size={32} />
      <p className="notice-title">{title}</p>
      {children}
    </div>
  );
}

export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  return (
    <div className="notice notice-error" role="alert">
      <Icon name="warning" size={28} />
      <p className="notice-title">{sentence(error)}</p>
      {retry && (
        <button type="button" className="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** An error as one sentence for a person. */
export function sentence(error: unknown): string {
  if (error instanceof ApiError) {
    return error.retryAfter === null ? error.message : `${error.message} Try again in ${error.retryAfter} s.`;
  }
  return "Something went wrong in the console itself. Reload the page.";
}

/** The value of a named field, in a list of such. */
export function Fact({ name, mono = false, children }: { name: string; mono?: boolean; children: ReactNode }) {
  return (
    <div className="fact">
      <dt>{name}</dt>
      <dd className={mono ? "mono" : undefined}>{children}</dd>
    </div>
  );
}
