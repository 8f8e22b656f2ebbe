/** Keeps the live stream open and tells React about it. */

import { useSyncExternalStore } from "react";

import { LIVE_PATH } from "./client";
import { INITIAL, parse, reduce, type LiveEvent, type LiveState } from "./live";

/** A storm of findings is drawn at most this often. */
const NOTIFY_MS = 120;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;

class LiveStore {
  private state: LiveState = INITIAL;
  private readonly listeners = new Set<() => void>();
  private source: EventSource | null = null;
  private retry: number | undefined;
  private notice: number | undefined;
  private wait = RETRY_MIN_MS;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly read = (): LiveState => this.state;

  /** Opens the stream; the returned function closes it and forgets what it brought. */
  open(onLost: () => void): () => void {
    this.connect(onLost);
    return () => {
      this.source?.close();
      this.source = null;
      window.clearTimeout(this.retry);
      this.state = INITIAL;
      this.notify();
    };
  }

  private connect(onLost: () => void): void {
    const source = new EventSource(LIVE_PATH);
    this.source = source;
    source.onopen = () => {
      this.wait = RETRY_MIN_MS;
      this.apply({ kind: "status", status: "live" });
    };
    source.onerror = () => {
      this.apply({ kind: "status", status: "lost" });
      onLost();
      // A refused stream (an ended session, a restarting brain) is closed by the browser for good.
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        this.retry = window.setTimeout(() => this.connect(onLost), this.wait);
        this.wait = Math.min(this.wait * 2, RETRY_MAX_MS);
      }
    };
    for (const kind of ["finding", "host", "overview"]) {
      source.addEventListener(kind, (message: MessageEvent<string>) => {
        const event = parse(kind, message.data);
        if (event) this.apply(event);
      });
    }
  }

  private apply(event: LiveEvent): void {
    this.state = reduce(this.state, event);
    this.notice ??= window.setTimeout(() => this.notify(), NOTIFY_MS);
  }

  private notify(): void {
    window.clearTimeout(this.notice);
    this.notice = undefined;
    for (const listener of this.listeners) listener();
  }
}

export const live = new LiveStore();

export function useLive<T>(select: (state: LiveState) => T): T {
  return useSyncExternalStore(live.subscribe, () => select(live.read()));
}
