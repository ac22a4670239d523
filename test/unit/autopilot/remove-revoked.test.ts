import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import type { CycleContext } from '../../../autopilot/cycle/context.ts';
import { removeRevoked } from '../../../autopilot/cycle/remove-revoked.ts';
import type { EngineJob } from '../../../autopilot/engines/engine.ts';
import { insertPilot } from '../../../autopilot/ledger/insert-pilot.ts';
import { openLedger } from '../../../autopilot/ledger/open-ledger.ts';
import { recordBatch } from '../../../autopilot/ledger/record-batch.ts';

test('a pilot that outlives even a kill is killed once in every grace; one that is not ours never', async t => {
  const state = await mkdtemp(join(tmpdir(), 'pilotage-remove-'));
  const ledger = await openLedger(state, { queue: 'q' });
  t.after(() => {
    ledger.close();
    return rm(state, { recursive: true });
  });
  let nowMs = 0;
  const cancelled: [number, string, string[]][] = [];
  const context = {
    ledger,
    config: { removeGraceSeconds: 120 },
    clock: { now: () => nowMs },
    log: silentLog,
    checkpoint: async () => {},
    engine: {
      cancel: async (jobs: EngineJob[], how: string) => {
        cancelled.push([nowMs / 1000, how, jobs.map(job => job.submissionId)]);
      },
    },
  } as unknown as CycleContext;
  const [own, foreign] = [newId(), newId()];
  const batchId = newId();
  recordBatch(ledger.db, { batchId, requested: 1, validSeconds: 60, idempotencyKey: newId(), nowMs });
  insertPilot(ledger.db, { submissionId: own, batchId, state: 'running', note: '', nowMs: 0 });
  const jobs = [own, foreign].map(submissionId => ({ submissionId, state: 'running' }) as EngineJob);
  const snapshot = { complete: true, jobs, problems: [] };
  // The server names ours twice, one that the batch system alone knows, and one that nobody does.
  const remove = [own, own, foreign, newId()].map(submissionId => ({ submissionId, release: '1.0.0' }));
  for (; nowMs <= 400_000; nowMs += 30_000) await removeRevoked(context, snapshot, remove);
  assert.deepEqual(cancelled, [
    [0, 'term', [own]],
    [120, 'kill', [own]],
    [240, 'kill', [own]],
    [360, 'kill', [own]],
  ]);
  const { events } = ledger.db
    .prepare("select count(*) as events from pilot_event where to_state = 'removing'")
    .get() as { events: number };
  assert.equal(events, 4);
});
