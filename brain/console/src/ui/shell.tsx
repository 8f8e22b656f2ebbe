/** The frame around every screen: navigation, live state, theme, sign-out. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { NavLink, Outlet, useLocation } from "react-router";

import { api } from "../api/client";
import { takeEvents, useOverview } from "../api/queries";
import { live, useLive } from "../api/store";
import type { Session } from "../api/types";
import { short } from "../text/number";
import { Boundary } from "./boundary";
import { Icon, type IconName } from "./icons";
import { Brand } from "./mark";
import { ThemeSwitch } from "./theme";

const PLACES: readonly { to: string; icon: IconName; name: string }[] = [
  { to: "/", icon: "overview", name: "Overview" },
  { to: "/findings", icon: "findings", name: "Findings" },
  { to: "/hosts", icon: "hosts", name: "Hosts" },
  { to: "/tokens", icon: "tokens", name: "Tokens" },
];

const LIVE_WORDS = { connecting: "Connecting", live: "Live", lost: "Reconnecting" } as const;

export function Shell({ session }: { session: Session }) {
  const client = useQueryClient();
  const { pathname } = useLocation();
  useEffect(
    () =>
      live.open({
        onOpen: () => void client.invalidateQueries({ predicate: (query) => query.queryKey[0] !== "session" }),
        onEvents: (events) => takeEvents(client, events),
        onLost: () => void client.invalidateQueries({ queryKey: ["session"] }),
      }),
    [client],
  );
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="bar">
        <NavLink to="/" className="bar-brand" aria-label="Sakuramori, overview">
          <Brand />
        </NavLink>
        <Navigation />
        <Account session={session} />
      </header>
      <main id="main" tabIndex={-1}>
        <Boundary key={pathname}>
          <Outlet />
        </Boundary>
      </main>
    </div>
  );
}

function Navigation() {
  const open = useOverview().data?.findings.open ?? 0;
  return (
    <nav className="places" aria-label="Main">
      {PLACES.map(({ to, icon, name }) => (
        <NavLink key={to} to={to} end={to === "/"} className="place">
          <Icon name={icon} size={19} />
          <span>{name}</span>
          {to === "/findings" && open > 0 && (
            <span className="place-count" aria-label={`${open} open`}>
              {short(open)}
            </span>
          )}
        </NavLink>
      ))}
    </nav>
  );
}

function Account({ session }: { session: Session }) {
  const client = useQueryClient();
  const leave = useMutation({
    mutationFn: api.logout,
    onSettled: async () => {
      client.removeQueries({ predicate: (query) => query.queryKey[0] !== "session" });
      await client.invalidateQueries({ queryKey: ["session"] });
    },
  });
  return (
    <div className="account">
      <LiveDot />
      <ThemeSwitch />
      <div className="who">
        <span className="who-name" title={session.user?.role}>
          {session.user?.name}
        </span>
        <button type="button" className="quiet" onClick={() => leave.mutate()} disabled={leave.isPending}>
          <Icon name="exit" size={17} />
          <span>Sign out</span>
        </button>
      </div>
      <span className="version">Version {session.version}</span>
    </div>
  );
}

function LiveDot() {
  const status = useLive((state) => state.status);
  return (
    <span className={`live live-${status}`} role="status">
      <span className="dot" />
      <span className="live-word">{LIVE_WORDS[status]}</span>
    </span>
  );
}
