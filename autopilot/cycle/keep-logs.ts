import { join } from 'node:path';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import { markLogKept } from '../ledger/mark-log-kept.ts';
import { unkeptLogs } from '../ledger/pilots.ts';
import type { PilotRow } from '../ledger/pilots.ts';
import type { CycleContext } from './context.ts';

/** Kept of each stream of a pilot's log, outside its sandbox: beginning and end. */
export const KEPT_LOG_BYTES = 1 << 18;
const PER_CYCLE = 500;

/** Directory of one pilot's log: `<logs>/<day it was made>/<batch>/`. */
export const logDirectory = (logs: string, row: Pick<PilotRow, 'createdMs' | 'batchId'>): string =>
  join(logs, new Date(row.createdMs).toISOString().slice(0, 10), row.batchId);

/** Puts the output of pilots that ended aside, where it outlives their sandbox. */
export async function keepLogs(context: CycleContext): Promise<number> {
  const { db } = context.ledger;
  const rows = unkeptLogs(db, PER_CYCLE);
  for (const row of rows) {
    if (row.state !== 'unsubmitted') {
      const directory = logDirectory(context.logs, row);
      for (const [stream, ending] of [
        ['stdout', 'out'],
        ['stderr', 'err'],
      ] as const) {
        const output = await context.engine.fetchLog(row, stream, KEPT_LOG_BYTES);
        if (output.length === 0) continue;
        await ensureDirectory(directory, 0o700);
        await writeFileAtomic(join(directory, `${row.submissionId}.${ending}`), output, { mode: 0o600 });
      }
    }
    await context.checkpoint('log-kept');
    markLogKept(db, row.submissionId);
  }
  return rows.length;
}
