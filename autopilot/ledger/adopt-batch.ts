import type { DatabaseSync } from 'node:sqlite';

/** A row for a batch that the engine knows and the ledger does not (an older ledger was restored). */
export function adoptBatch(db: DatabaseSync, batchId: string, nowMs: number): void {
  db.prepare(
    `insert into batch (batch_id, requested, valid_seconds, idempotency_key, state, note, created_ms, changed_ms)
     values (?, 0, 0, '', 'submitted', 'found at the engine', ?, ?) on conflict (batch_id) do nothing`,
  ).run(batchId, nowMs, nowMs);
}
