import type { DatabaseSync } from 'node:sqlite';
import type { PilotRow } from './pilots.ts';

/** Not a state of the pilot, which runs on until it has ended: only an entry in its history. */
const REMOVING = 'removing';

/** When the pilot was last told to end because of its release, epoch milliseconds; null if it was not. */
export function lastRemovalMs(db: DatabaseSync, submissionId: string): number | null {
  const row = db
    .prepare('select max(at_ms) as at from pilot_event where submission_id = ? and to_state = ?')
    .get(submissionId, REMOVING) as { at: number | null };
  return row.at;
}

/** Writes down that the pilot is ended, and why, before it is. */
export function noteRemoval(
  db: DatabaseSync,
  pilot: Pick<PilotRow, 'submissionId' | 'state'>,
  { note, nowMs }: { note: string; nowMs: number },
): void {
  db.prepare(
    'insert into pilot_event (submission_id, at_ms, from_state, to_state, note) values (?, ?, ?, ?, ?)',
  ).run(pilot.submissionId, nowMs, pilot.state, REMOVING, note);
}
