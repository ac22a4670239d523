import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as fc from 'fast-check';
import { PilotageError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { changePilot } from '../../../autopilot/ledger/change-pilot.ts';
import { countOwn } from '../../../autopilot/ledger/count-own.ts';
import { insertPilot } from '../../../autopilot/ledger/insert-pilot.ts';
import { lockHolder } from '../../../autopilot/ledger/lock.ts';
import { noteServerState } from '../../../autopilot/ledger/note-server-state.ts';
import { ledgerPath, openLedger, readLedger } from '../../../autopilot/ledger/open-ledger.ts';
import type { Ledger } from '../../../autopilot/ledger/open-ledger.ts';
import { isLive, mayBecome, pilotStates } from '../../../autopilot/ledger/pilot-states.ts';
import type { PilotState } from '../../../autopilot/ledger/pilot-states.ts';
import { livePilots, pilotById } from '../../../autopilot/ledger/pilots.ts';
import { pruneLedger } from '../../../autopilot/ledger/prune.ts';
import { recentOutcomes } from '../../../autopilot/ledger/recent-outcomes.ts';
import { recordBatch } from '../../../autopilot/ledger/record-batch.ts';
import { setBatchState } from '../../../autopilot/ledger/set-batch-state.ts';
import { dueWithdrawals, markWithdrawn, settleUsed } from '../../../autopilot/ledger/withdrawals.ts';
import { markLogKept } from '../../../autopilot/ledger/mark-log-kept.ts';

const root = await mkdtemp(join(tmpdir(), 'pilotage-ledger-'));
after(() => rm(root, { recursive: true, force: true }));

async function withLedger<T>(body: (ledger: Ledger, state: string) => Promise<T> | T): Promise<T> {
  const state = await mkdtemp(join(root, 'state-'));
  const ledger = await openLedger(state, { queue: 'q' });
  try {
    return await body(ledger, state);
  } finally {
    ledger.close();
  }
}

function addBatch({ db }: Ledger, requested: number, nowMs = 1): string {
  const batchId = newId();
  recordBatch(db, { batchId, requested, validSeconds: 60, idempotencyKey: newId(), nowMs });
  return batchId;
}

/** A pilot taken through these states. */
function addPilot({ db }: Ledger, batchId: string, path: PilotState[] = [], nowMs = 1): string {
  const submissionId = newId();
  insertPilot(db, { submissionId, batchId, state: 'intent', note: '', nowMs });
  for (const to of path) changePilot(db, { submissionId, to, note: '', nowMs });
  return submissionId;
}

const codeOf = (code: string) => (error: unknown) => error instanceof PilotageError && error.code === code;

test('opens in WAL with full synchronisation, readable by its owner only', () =>
  withLedger(async ({ db }, state) => {
    assert.equal(db.prepare('pragma journal_mode').get()?.journal_mode, 'wal');
    assert.equal(db.prepare('pragma synchronous').get()?.synchronous, 2);
    assert.equal((await stat(ledgerPath(state))).mode & 0o077, 0);
  }));

test('a second autopilot is refused and told the pid, in this process and from another', () =>
  withLedger(async (_ledger, state) => {
    await assert.rejects(openLedger(state, { queue: 'q' }), (error: unknown) => {
      assert.ok(error instanceof PilotageError);
      assert.equal(error.code, 'E_LEDGER_LOCKED');
      assert.equal(error.found, `pid ${process.pid}`);
      return true;
    });
    assert.deepEqual(lockHolder(state), { held: true, pid: process.pid });
    const module = fileURLToPath(new URL('../../../autopilot/ledger/lock.ts', import.meta.url));
    const script = `import { lockLedger } from ${JSON.stringify(module)};
      try { lockLedger(${JSON.stringify(state)}); } catch (error) { console.log(error.code, error.found); }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [[said]] = (await Promise.all([once(child.stdout, 'data'), once(child, 'exit')])) as [
      [Buffer],
      unknown,
    ];
    assert.equal(String(said).trim(), `E_LEDGER_LOCKED pid ${process.pid}`);
  }));

test('the lock falls with a process that is killed', async () => {
  const state = await mkdtemp(join(root, 'state-'));
  const module = fileURLToPath(new URL('../../../autopilot/ledger/lock.ts', import.meta.url));
  const script = `import { lockLedger } from ${JSON.stringify(module)};
    globalThis.held = lockLedger(${JSON.stringify(state)}); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.deepEqual(lockHolder(state), { held: true, pid: child.pid });
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  assert.deepEqual(lockHolder(state), { held: false, pid: null });
  (await openLedger(state, { queue: 'q' })).close();
});

test('a ledger belongs to one queue and one factory', async () => {
  const state = await mkdtemp(join(root, 'state-'));
  const first = await openLedger(state, { queue: 'q' });
  const { factory } = first.owner;
  first.close();
  await assert.rejects(openLedger(state, { queue: 'other' }), codeOf('E_LEDGER_FOREIGN'));
  await assert.rejects(openLedger(state, { queue: 'q', factory: 'other' }), codeOf('E_LEDGER_FOREIGN'));
  const again = await openLedger(state, { queue: 'q' });
  assert.equal(again.owner.factory, factory);
  again.close();
});

test('a ledger of another version is refused and left alone', async () => {
  const state = await mkdtemp(join(root, 'state-'));
  const first = await openLedger(state, { queue: 'q' });
  first.db.exec('pragma user_version = 99');
  first.close();
  await assert.rejects(openLedger(state, { queue: 'q' }), codeOf('E_LEDGER_SCHEMA'));
  assert.deepEqual(lockHolder(state), { held: false, pid: null });
});

test('can be read while an autopilot has it; there is none before the first run', () =>
  withLedger((ledger, state) => {
    addPilot(ledger, addBatch(ledger, 1));
    const seen = readLedger(state)!;
    assert.equal(livePilots(seen.db).length, 1);
    assert.throws(() => seen.db.exec('delete from pilot'), /readonly/);
    seen.close();
    assert.equal(readLedger(join(state, 'nowhere')), null);
  }));

test('property: only changes of the table are written, each with its event; ends are withdrawn', () =>
  withLedger(ledger => {
    const batchId = addBatch(ledger, 1);
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pilotStates), { maxLength: 8 }), path => {
        const submissionId = addPilot(ledger, batchId);
        let state: PilotState = 'intent';
        let changes = 1;
        for (const to of path) {
          const change = () => changePilot(ledger.db, { submissionId, to, note: 'n', nowMs: 5 });
          if (mayBecome(state, to)) {
            change();
            state = to;
            changes += 1;
          } else assert.throws(change, codeOf('E_LEDGER_TRANSITION'));
        }
        const row = pilotById(ledger.db, submissionId)!;
        assert.equal(row.state, state);
        assert.equal(row.endedMs === null, isLive(state));
        if (!isLive(state)) assert.ok(dueWithdrawals(ledger.db, 10_000).includes(submissionId));
        const events = ledger.db
          .prepare('select to_state as state from pilot_event where submission_id = ? order by seq')
          .all(submissionId);
        assert.equal(events.length, changes);
        assert.equal(events.at(-1)?.state, state);
      }),
      { numRuns: 60 },
    );
  }));

test('events are append-only', () =>
  withLedger(ledger => {
    addPilot(ledger, addBatch(ledger, 1));
    assert.throws(() => ledger.db.exec("update pilot_event set note = 'x'"), /append-only/);
  }));

test('a batch moves only forward', () =>
  withLedger(ledger => {
    const batchId = addBatch(ledger, 1);
    const move = (to: 'granted' | 'submitting' | 'submitted') =>
      setBatchState(ledger.db, { batchId, to, nowMs: 2 });
    assert.throws(() => move('submitting'), codeOf('E_LEDGER_TRANSITION'));
    move('granted');
    move('granted');
    move('submitting');
    move('submitted');
    assert.throws(() => move('granted'), codeOf('E_LEDGER_TRANSITION'));
  }));

test('an unanswered request counts whole; a pilot counts until it has ended', () =>
  withLedger(ledger => {
    addBatch(ledger, 7);
    const batchId = addBatch(ledger, 3);
    setBatchState(ledger.db, { batchId, to: 'granted', nowMs: 1 });
    addPilot(ledger, batchId);
    const enrolled = addPilot(ledger, batchId, ['submitting', 'queued', 'running']);
    noteServerState(ledger.db, { submissionId: enrolled, state: 'enrolled', jobsDone: 0 });
    addPilot(ledger, batchId, ['submitting', 'queued', 'failed']);
    assert.deepEqual(countOwn(ledger.db), { notEnded: 9, waiting: 8, expected: 1 });
  }));

test('a run of failures is counted in pilots and batches until one that worked', () =>
  withLedger(ledger => {
    const [a, b] = [addBatch(ledger, 3), addBatch(ledger, 1)];
    const failed: PilotState[] = ['submitting', 'queued', 'running', 'failed'];
    addPilot(ledger, a, failed, 1000);
    addPilot(ledger, a, ['submitting', 'queued', 'running', 'done_empty'], 2000);
    addPilot(ledger, a, failed, 3000);
    addPilot(ledger, a, failed, 3000);
    addPilot(ledger, b, failed, 4000);
    addPilot(ledger, b, ['submitting', 'unsubmitted'], 5000);
    const seen = recentOutcomes(ledger.db, 10_000, 8);
    assert.deepEqual(
      [seen.ended, seen.empty, seen.failedPilots, seen.failedBatches, seen.lastFailedAgoSeconds],
      [4, 1, 3, 2, 6],
    );
  }));

test('withdrawal is due once, and not for what the server has used up', () =>
  withLedger(ledger => {
    const batchId = addBatch(ledger, 2);
    const used = addPilot(ledger, batchId, ['submitting', 'queued', 'running', 'failed']);
    const unused = addPilot(ledger, batchId, ['submitting', 'unsubmitted']);
    noteServerState(ledger.db, { submissionId: used, state: 'ended', jobsDone: 0 });
    settleUsed(ledger.db);
    assert.deepEqual(dueWithdrawals(ledger.db, 10), [unused]);
    markWithdrawn(ledger.db, [unused]);
    assert.deepEqual(dueWithdrawals(ledger.db, 10), []);
  }));

test('pruning forgets only what is settled and old', () =>
  withLedger(ledger => {
    const batchId = addBatch(ledger, 3);
    setBatchState(ledger.db, { batchId, to: 'refused', nowMs: 1 });
    const ended = () => addPilot(ledger, batchId, ['submitting', 'queued', 'running', 'done'], 100);
    const [old, undone] = [ended(), ended()];
    const live = addPilot(ledger, batchId, ['submitting']);
    markWithdrawn(ledger.db, [old]);
    markLogKept(ledger.db, old);
    assert.equal(pruneLedger(ledger.db, 100), 0);
    assert.equal(pruneLedger(ledger.db, 101), 1);
    assert.equal(pilotById(ledger.db, old), undefined);
    assert.ok(pilotById(ledger.db, undone) && pilotById(ledger.db, live));
  }));
