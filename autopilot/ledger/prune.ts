import type { DatabaseSync } from 'node:sqlite';
import { transaction } from './transaction.ts';

/** Forgets pilots that ended before `beforeMs`, with their events; only ones that left nothing to do. */
export function pruneLedger(db: DatabaseSync, beforeMs: number): number {
  return transaction(db, () => {
    const old = `select submission_id from pilot
      where ended_ms < ? and withdraw = 'done' and log_kept = 1`;
    db.prepare(`delete from pilot_event where submission_id in (${old})`).run(beforeMs);
    const { changes } = db.prepare(`delete from pilot where submission_id in (${old})`).run(beforeMs);
    db.prepare(
      `delete from batch where changed_ms < ? and state in ('submitted', 'rejected', 'refused', 'abandoned')
         and not exists (select 1 from pilot where pilot.batch_id = batch.batch_id)`,
    ).run(beforeMs);
    return Number(changes);
  });
}
