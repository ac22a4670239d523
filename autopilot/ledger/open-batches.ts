import type { DatabaseSync } from 'node:sqlite';
import type { BatchState } from './pilot-states.ts';

export interface BatchRow {
  batchId: string;
  requested: number;
  validSeconds: number;
  idempotencyKey: string;
  state: BatchState;
  createdMs: number;
}

/** Batches that are not settled: an earlier run, or a lost answer, left them half way. Oldest first. */
export const openBatches = (db: DatabaseSync): BatchRow[] =>
  db
    .prepare(
      `select batch_id as batchId, requested, valid_seconds as validSeconds, idempotency_key as idempotencyKey, state,
         created_ms as createdMs
       from batch where state in ('asking', 'granted', 'submitting') order by batch_id`,
    )
    .all() as unknown as BatchRow[];
