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

/** The share that was lost, in percent; a small loss is never rounded to none. */
export function lostShare(balance: Balance): string {
  if (balance.lost <= 0) return "0 %";
  const share = (100 * balance.lost) / Math.max(balance.seen, balance.lost);
  return share < 0.01 ? "< 0.01 %" : `${share.toFixed(share < 10 ? 2 : 0)} %`;
}
