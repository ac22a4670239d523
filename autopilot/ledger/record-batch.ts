import type { DatabaseSync } from 'node:sqlite';

export interface NewBatch {
  batchId: string;
  requested: number;
  validSeconds: number;
  /** Sent with the request for submission ids, and again after a crash: the same key gets the same ids. */
  idempotencyKey: string;
  nowMs: number;
}

/** Writes the intention to ask for `requested` submissions, before the server is asked. */
export function recordBatch(db: DatabaseSync, batch: NewBatch): void {
  db.prepare(
    `insert into batch (batch_id, requested, valid_seconds, idempotency_key, state, created_ms, changed_ms)
     values (?, ?, ?, ?, 'asking', ?, ?)`,
  ).run(batch.batchId, batch.requested, batch.validSeconds, batch.idempotencyKey, batch.nowMs, batch.nowMs);
}
