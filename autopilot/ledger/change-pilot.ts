import type { DatabaseSync } from 'node:sqlite';
import { autopilotError } from '../errors.ts';
import { isLive, mayBecome, pilotTransitions } from './pilot-states.ts';
import type { PilotState } from './pilot-states.ts';

export interface PilotChange {
  submissionId: string;
  to: PilotState;
  note: string;
  nowMs: number;
  nativeId?: string | null;
  exitCode?: number | null;
  resultCode?: string | null;
  resultMessage?: string | null;
  /** When the thing happened, where that is known better than by now. */
  atMs?: number | null;
}

/**
 * Moves one pilot through the transition table and appends the event; call inside a transaction. A pilot that ends gets
 * its submission given back at the server (`withdraw` due), which the server only does while it is unused.
 *
 * @throws E_LEDGER_TRANSITION for a change the table does not have.
 */
export function changePilot(db: DatabaseSync, change: PilotChange): void {
  const row = db.prepare('select state from pilot where submission_id = ?').get(change.submissionId) as
    { state: PilotState } | undefined;
  if (row === undefined || !mayBecome(row.state, change.to)) {
    throw autopilotError({
      code: 'E_LEDGER_TRANSITION',
      message: 'The ledger has no such change of a pilot.',
      where: change.submissionId,
      expected:
        row === undefined ? 'a known pilot' : `one of ${pilotTransitions[row.state].join(', ') || 'none'}`,
      found: `${row?.state ?? 'nothing'} -> ${change.to}`,
      fix: 'Report this with the ledger file: it is a defect.',
    });
  }
  const ends = !isLive(change.to);
  const atMs = change.atMs ?? change.nowMs;
  const when = (state: PilotState) => (change.to === state ? atMs : null);
  db.prepare(
    `update pilot set state = ?, native_id = coalesce(?, native_id), exit_code = coalesce(?, exit_code),
       result_code = coalesce(?, result_code), result_message = coalesce(?, result_message), missing_looks = 0,
       withdraw = case when ? and withdraw = 'no' then 'due' else withdraw end,
       submitting_ms = coalesce(?, submitting_ms), queued_ms = coalesce(?, queued_ms),
       running_ms = coalesce(?, running_ms), ended_ms = ?
     where submission_id = ?`,
  ).run(
    change.to,
    change.nativeId ?? null,
    change.exitCode ?? null,
    change.resultCode ?? null,
    change.resultMessage ?? null,
    ends ? 1 : 0,
    when('submitting'),
    when('queued'),
    when('running'),
    ends ? atMs : null,
    change.submissionId,
  );
  db.prepare(
    'insert into pilot_event (submission_id, at_ms, from_state, to_state, note) values (?, ?, ?, ?, ?)',
  ).run(change.submissionId, change.nowMs, row.state, change.to, change.note);
}
