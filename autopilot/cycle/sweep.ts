import { readdir, rm, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTree } from '../../lib/remove-tree.ts';
import { isLive } from '../ledger/pilot-states.ts';
import { pilotById } from '../ledger/pilots.ts';
import { pruneLedger } from '../ledger/prune.ts';
import { sandboxPath } from '../spool/render-sandbox.ts';
import { measureFiles, overdue, sweepFiles } from '../spool/sweep-files.ts';
import type { Found } from '../spool/sweep-files.ts';
import type { CycleContext } from './context.ts';

const SWEEP_SECONDS = 60;
const BATCH_ID = /^[0-9A-HJKMNP-TV-Z]{26}$/;

/**
 * Frees what ended pilots left, by age and by size: sandboxes, logs, ledger rows. A sandbox goes only after its pilot is
 * known to have ended and its log was kept; its bootstrap.json, with the secret, goes at the first sweep after the end.
 */
export async function sweep(context: CycleContext, options: { force?: boolean } = {}): Promise<void> {
  const { config, memory } = context;
  const nowMs = context.clock.now();
  if (!options.force && memory.lastSweepMs !== null && nowMs - memory.lastSweepMs < SWEEP_SECONDS * 1000)
    return;
  memory.lastSweepMs = nowMs;
  await sweepSandboxes(context, nowMs);
  await sweepFiles(context.logs, {
    nowMs,
    maxAgeSeconds: config.keep.logSeconds,
    maxBytes: config.keep.logBytes,
  });
  pruneLedger(context.ledger.db, nowMs - config.keep.rowSeconds * 1000);
  await context.checkpoint('swept');
}

async function sweepSandboxes(context: CycleContext, nowMs: number): Promise<void> {
  const { config, engine, ledger, spool } = context;
  const ended: (Found & { batchId: string; submissionId: string })[] = [];
  for (const batchId of (await readdir(spool)).filter(name => BATCH_ID.test(name))) {
    const directory = join(spool, batchId);
    const submissionIds = (await readdir(directory)).filter(name => BATCH_ID.test(name));
    for (const submissionId of submissionIds) {
      const row = pilotById(ledger.db, submissionId);
      const path = sandboxPath(spool, { batchId, submissionId });
      if (row === undefined || isLive(row.state) || row.state === 'lost') continue;
      if (row.state === 'unsubmitted') {
        await removeTree(path).catch(error => complain(context, path, error));
        continue;
      }
      await rm(join(path, 'bootstrap.json'), { force: true });
      const bytes = (await measureFiles(path)).reduce((sum, file) => sum + file.bytes, 0);
      ended.push({ path, bytes, changedMs: row.endedMs ?? 0, batchId, submissionId });
    }
    if (submissionIds.length === 0) await removeSettledBatch(context, directory, nowMs);
  }
  const limits = { nowMs, maxAgeSeconds: config.keep.sandboxSeconds, maxBytes: config.keep.sandboxBytes };
  for (const sandbox of overdue(ended, limits)) {
    await engine
      .forget(sandbox as (typeof ended)[number])
      .catch((error: unknown) => complain(context, sandbox.path, error));
  }
}

/** One sandbox that cannot be removed must not keep all others. */
function complain({ log, signal }: CycleContext, path: string, error: unknown): void {
  signal.throwIfAborted();
  log.warn({ err: error, path }, 'a sandbox could not be removed');
}

/** The engine's record of a batch without sandboxes; kept as long as a sandbox would be. */
async function removeSettledBatch(context: CycleContext, directory: string, nowMs: number): Promise<void> {
  const { mtimeMs } = await stat(directory);
  if (nowMs - mtimeMs < context.config.keep.sandboxSeconds * 1000) return;
  await rm(join(directory, 'batch.json'), { force: true });
  await rmdir(directory);
}
