import type { DatabaseSync } from 'node:sqlite';
import type { PilotState } from './pilot-states.ts';

/** A row for a pilot the ledger has not seen; false when it has. The first event of every pilot. */
export function insertPilot(
  db: DatabaseSync,
  pilot: {
    submissionId: string;
    batchId: string;
    state: PilotState;
    nativeId?: string | null;
    withdraw?: 'no' | 'due';
    note: string;
    nowMs: number;
  },
): boolean {
  const { changes } = db
    .prepare(
      `insert into pilot (submission_id, batch_id, state, native_id, withdraw, created_ms, ended_ms)
       values (?, ?, ?, ?, ?, ?, ?) on conflict (submission_id) do nothing`,
    )
    .run(
      pilot.submissionId,
      pilot.batchId,
      pilot.state,
      pilot.nativeId ?? null,
      pilot.withdraw ?? 'no',
      pilot.nowMs,
      pilot.state === 'unsubmitted' ? pilot.nowMs : null,
    );
  if (Number(changes) === 0) return false;
  db.prepare(
    'insert into pilot_event (submission_id, at_ms, from_state, to_state, note) values (?, ?, null, ?, ?)',
  ).run(pilot.submissionId, pilot.nowMs, pilot.state, pilot.note);
  return true;
}
