/** Keeps the live stream open and tells React about it. */

import { useSyncExternalStore } from "react";

import { LIVE_PATH } from "./client";
import { INITIAL, parse, reduce, type LiveEvent, type LiveState } from "./live";

/** A storm of findings is drawn at most this often. */
const NOTIFY_MS = 120;
const RETRY_MIN_MS = 1_000;
const RETRY_MAX_MS = 30_000;

/** Who is told when the stream opens or ends. */
export interface Watcher {
  /** What changed while there was no stream is known to the brain alone. */
  onOpen: () => void;
  onLost: () => void;
  /** What arrived since the last time, in order. */
  onEvents: (events: readonly LiveEvent[]) => void;
}

class LiveStore {
  private state: LiveState = INITIAL;
  private readonly listeners = new Set<() => void>();
  private source: EventSource | null = null;
  private retry: number | undefined;
  private notice: number | undefined;
  private wait = RETRY_MIN_MS;
  private arrived: LiveEvent[] = [];
  private watcher: Watcher | null = null;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly read = (): LiveState => this.state;

  /** Opens the stream; the returned function closes it and forgets what it brought. */
  open(watcher: Watcher): () => void {
    this.watcher = watcher;
    this.connect(watcher);
    return () => {
      this.source?.close();
      this.source = null;
      window.clearTimeout(this.retry);
      this.watcher = null;
      this.state = INITIAL;
      this.notify();
    };
  }

  private connect(watcher: Watcher): void {
    const source = new EventSource(LIVE_PATH);
    this.source = source;
    source.onopen = () => {
      this.wait = RETRY_MIN_MS;
      this.apply({ kind: "status", status: "live" });
      watcher.onOpen();
    };
    source.onerror = () => {
      this.apply({ kind: "status", status: "lost" });
      watcher.onLost();
      // A refused stream (an ended session, a restarting brain) is closed by the browser for good.
      if (source.readyState === EventSource.CLOSED && this.source === source) {
        this.retry = window.setTimeout(() => this.connect(watcher), this.wait);
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
    this.arrived.push(event);
    this.notice ??= window.setTimeout(() => this.notify(), NOTIFY_MS);
  }

  private notify(): void {
    window.clearTimeout(this.notice);
    this.notice = undefined;
    const events = this.arrived;
    this.arrived = [];
    this.watcher?.onEvents(events);
    for (const listener of this.listeners) listener();
  }
}

export const live = new LiveStore();

export function useLive<T>(select: (state: LiveState) => T): T {
  return useSyncExternalStore(live.subscribe, () => select(live.read()));
}
