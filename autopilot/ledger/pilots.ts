import type { DatabaseSync, SQLInputValue } from 'node:sqlite';
import type { PilotState } from './pilot-states.ts';

export interface PilotRow {
  submissionId: string;
  batchId: string;
  state: PilotState;
  nativeId: string | null;
  serverState: string | null;
  jobsDone: number | null;
  exitCode: number | null;
  resultCode: string | null;
  resultMessage: string | null;
  missingLooks: number;
  createdMs: number;
  queuedMs: number | null;
  runningMs: number | null;
  endedMs: number | null;
}

const columns = `submission_id as submissionId, batch_id as batchId, state, native_id as nativeId,
  server_state as serverState, jobs_done as jobsDone, exit_code as exitCode, result_code as resultCode,
  result_message as resultMessage, missing_looks as missingLooks, created_ms as createdMs, queued_ms as queuedMs,
  running_ms as runningMs, ended_ms as endedMs`;

const select = (db: DatabaseSync, where: string, ...values: SQLInputValue[]): PilotRow[] =>
  db.prepare(`select ${columns} from pilot where ${where}`).all(...values) as unknown as PilotRow[];

/** Pilots not known to have ended, oldest first. */
export const livePilots = (db: DatabaseSync): PilotRow[] =>
  select(db, "state in ('intent','submitting','queued','running') order by submission_id");

export const pilotsOfBatch = (db: DatabaseSync, batchId: string): PilotRow[] =>
  select(db, 'batch_id = ? order by submission_id', batchId);

export const pilotById = (db: DatabaseSync, submissionId: string): PilotRow | undefined =>
  select(db, 'submission_id = ?', submissionId)[0];

/** The pilots that ended last, newest first. */
export const latestEnded = (db: DatabaseSync, limit: number): PilotRow[] =>
  select(db, 'ended_ms is not null order by ended_ms desc, submission_id desc limit ?', limit);

/** Lost pilots, which may come back. */
export const lostPilots = (db: DatabaseSync): PilotRow[] => select(db, "state = 'lost'");

/** Ended pilots whose log has not been put aside yet. */
export const unkeptLogs = (db: DatabaseSync, limit: number): PilotRow[] =>
  select(db, 'ended_ms is not null and log_kept = 0 order by ended_ms limit ?', limit);
