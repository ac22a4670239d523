import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { checkpoints } from '../../../autopilot/cycle/context.ts';
import { localCheckpoints } from '../../../autopilot/engines/local/local-engine.ts';
import { readLedger } from '../../../autopilot/ledger/open-ledger.ts';
import { waitUntil } from '../../unit/autopilot/wait-until.ts';
import { CrashSite } from './crash-site.ts';

const CAP = 4;

/** Ends an autopilot as told, lets a fresh one go on, and compares what server, pilots and ledger say. */
async function survive(kills: (site: CrashSite) => Promise<void>): Promise<void> {
  const site = await CrashSite.create();
  try {
    const { server } = site;
    server.activated = 50;
    server.cap = CAP;
    await kills(site);
    const child = site.start();
    await waitUntil(() => server.countIn('enrolled') === CAP && server.countIn('open') === 0, 20_000);
    assert.ok(server.mostAtOnce <= CAP, `${server.mostAtOnce} submissions at once, cap ${CAP}`);
    assert.equal(site.notEnded(), CAP);
    server.activated = 0;
    await site.finishPilots();
    await waitUntil(() => site.notEnded() === 0 && server.countIn('open', 'enrolled') === 0, 20_000);
    await waitUntil(() => ledgerRows(site).every(row => row.withdraw !== 'due'));
    const exited = once(child, 'exit');
    child.kill('SIGTERM');
    assert.deepEqual(await exited, [0, null]);
    compareRecords(site);
  } finally {
    await site.close();
  }
}

interface RowSeen {
  id: string;
  state: string;
  withdraw: string;
  result: string | null;
}

function ledgerRows(site: CrashSite): RowSeen[] {
  const ledger = readLedger(site.state)!;
  try {
    return ledger.db
      .prepare('select submission_id as id, state, withdraw, result_code as result from pilot')
      .all() as unknown as RowSeen[];
  } finally {
    ledger.close();
  }
}

/** Every submission started at most once; what worked is `done`, what did not was given back; none is unknown. */
function compareRecords(site: CrashSite): void {
  const rows = new Map(ledgerRows(site).map(row => [row.id, row]));
  const done = [...rows.values()].filter(row => row.state === 'done');
  assert.equal(done.length, CAP, 'each working pilot is counted once');
  for (const submission of site.server.submissions) {
    const starts = site.server.starts(submission.id);
    assert.ok(starts <= 1, `${submission.id} was started ${starts} times`);
    const row = rows.get(submission.id);
    if (starts === 1) assert.equal(row?.state, 'done');
    else {
      assert.equal(submission.withdrawn, true, `${submission.id} never worked and was not given back`);
      assert.ok(row === undefined || ['failed', 'unsubmitted'].includes(row.state), String(row?.state));
    }
  }
  const failed = [...rows.values()].filter(row => row.state === 'failed');
  assert.deepEqual(
    failed.map(row => row.result),
    ['E_TARGET_HASH'],
  );
  assert.ok([...rows.values()].every(row => site.server.submissions.some(({ id }) => id === row.id)));
}

describe('kill -9 of the autopilot loses and doubles no pilot', { concurrency: 3 }, () => {
  for (const killAt of [...checkpoints, ...localCheckpoints]) {
    for (const killCount of killAt === 'sandbox-rendered' || killAt === 'starter-spawned' ? [1, 2] : [1]) {
      test(`at ${killAt}, passing ${killCount}`, { timeout: 60_000 }, () =>
        survive(async site => {
          const child = site.start({ killAt, killCount });
          assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
        }),
      );
    }
  }

  test('at every step of the same batch, one restart after the other', { timeout: 60_000 }, () =>
    survive(async site => {
      const order = ['batch-recorded', 'submissions-created', 'rows-written', 'sandbox-rendered'];
      for (const killAt of [...order, 'submitting-written', 'batch-recorded', 'engine-submitted']) {
        const child = site.start({ killAt });
        assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
      }
    }),
  );

  test('at moments nobody chose', { timeout: 60_000 }, async t => {
    const delaysMs = Array.from({ length: 5 }, () => Math.round(200 + Math.random() * 900));
    t.diagnostic(`killed after ${delaysMs.join(', ')} ms`);
    await survive(async site => {
      for (const delayMs of delaysMs) {
        const child = site.start();
        const killed = once(child, 'exit');
        setTimeout(() => child.kill('SIGKILL'), delayMs);
        assert.deepEqual(await killed, [null, 'SIGKILL']);
      }
    });
  });

  test('and lost answers of the server on top', { timeout: 60_000 }, () =>
    survive(async site => {
      site.server.loseAnswers.set('POST submissions', 3);
      site.server.loseAnswers.set('POST submissions/withdraw', 1);
      const child = site.start({ killAt: 'rows-written' });
      assert.deepEqual(await once(child, 'exit'), [null, 'SIGKILL']);
    }),
  );
});
