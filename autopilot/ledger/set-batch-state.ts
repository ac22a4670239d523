import type { DatabaseSync } from 'node:sqlite';
import { autopilotError } from '../errors.ts';
import { batchTransitions } from './pilot-states.ts';
import type { BatchState } from './pilot-states.ts';

/** Moves a batch through its table. @throws E_LEDGER_TRANSITION for a change the table does not have. */
export function setBatchState(
  db: DatabaseSync,
  change: { batchId: string; to: BatchState; note?: string; nowMs: number },
): void {
  const row = db.prepare('select state from batch where batch_id = ?').get(change.batchId) as
    { state: BatchState } | undefined;
  if (row?.state === change.to) return;
  if (row === undefined || !batchTransitions[row.state].includes(change.to)) {
    throw autopilotError({
      code: 'E_LEDGER_TRANSITION',
      message: 'The ledger has no such change of a batch.',
      where: change.batchId,
      expected:
        row === undefined ? 'a known batch' : `one of ${batchTransitions[row.state].join(', ') || 'none'}`,
      found: `${row?.state ?? 'nothing'} -> ${change.to}`,
      fix: 'Report this with the ledger file: it is a defect.',
    });
  }
  db.prepare('update batch set state = ?, note = ?, changed_ms = ? where batch_id = ?').run(
    change.to,
    change.note ?? '',
    change.nowMs,
    change.batchId,
  );
}
