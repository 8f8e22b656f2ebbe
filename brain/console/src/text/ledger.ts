/** The identity of the loss ledger: what was seen was delivered or is counted under a reason. */

import type { LedgerRow, Loss } from "../api/types";

export interface Balance {
  signal: string;
  seen: number;
  delivered: number;
  lost: number;
  reasons: Loss[];
  /** Seen and neither delivered nor lost: on its way, or (below zero) counted twice. */
  open: number;
}

export function balance(row: LedgerRow): Balance {
  const reasons = row.lost.filter((loss) => loss.count > 0).sort((a, b) => b.count - a.count);
  const lost = reasons.reduce((sum, loss) => sum + loss.count, 0);
  return {
    signal: row.signal,
    seen: row.seen,
    delivered: row.delivered,
    lost,
    reasons,
    open: row.seen - row.delivered - lost,
  };
}

/** The share that was lost, in percent, for a bar; a loss is never drawn as nothing. */
export function lostShare(balance: Balance): number {
  if (balance.seen <= 0 || balance.lost <= 0) return 0;
  return Math.max((100 * balance.lost) / balance.seen, 1);
}
