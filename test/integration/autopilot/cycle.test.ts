import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { PilotageError } from '../../../lib/errors.ts';
import { silentLog } from '../../../lib/log.ts';
import { AutopilotConfig } from '../../../autopilot/config/schema.ts';
import type { CycleReport } from '../../../autopilot/cycle/run-cycle.ts';
import { dryRun } from '../../../autopilot/dry-run.ts';
import { countStates } from '../../../autopilot/ledger/count-states.ts';
import { openExistingLedger } from '../../../autopilot/ledger/open-ledger.ts';
import { recordBatch } from '../../../autopilot/ledger/record-batch.ts';
import { runAutopilot } from '../../../autopilot/run-autopilot.ts';
import { newId } from '../../../lib/ids.ts';
import { waitUntil } from '../../unit/autopilot/wait-until.ts';
import { CrashSite } from './crash-site.ts';

/** One cycle of a freshly started autopilot. */
async function cycle(
  site: CrashSite,
  config: Record<string, unknown> = {},
  wrapper = site.wrapper(),
): Promise<CycleReport> {
  let report: CycleReport | undefined;
  await runAutopilot({
    config: AutopilotConfig.parse(site.config(config)),
    wrapper,
    log: silentLog,
    signal: new AbortController().signal,
    env: process.env,
    once: true,
    drain: false,
    onReady: first => {
      report = first;
    },
  });
  return report!;
}

async function counts(site: CrashSite): Promise<Record<string, number>> {
  const ledger = await openExistingLedger(site.state);
  try {
    return ledger === null ? {} : countStates(ledger.db);
  } finally {
    ledger?.close();
  }
}

/** Entries about removals in the ledger: how often, and why. */
async function removals(site: CrashSite): Promise<[number, string][]> {
  const ledger = await openExistingLedger(site.state);
  try {
    const rows = ledger!.db
      .prepare(
        "select count(*) as n, note from pilot_event where to_state = 'removing' group by note order by note",
      )
      .all() as { n: number; note: string }[];
    return rows.map(({ n, note }) => [n, note]);
  } finally {
    ledger?.close();
  }
}

async function withSite(body: (site: CrashSite) => Promise<void>): Promise<void> {
  const site = await CrashSite.create();
  try {
    await mkdir(join(site.pilots, 'first')); // every pilot works
    await body(site);
  } finally {
    await site.close();
  }
}

const codeOf = (code: string) => (error: unknown) => error instanceof PilotageError && error.code === code;

describe('cycles', { concurrency: 2 }, () => {
  test('demand is met within cap and ramp, and not met twice', () =>
    withSite(async site => {
      site.server.activated = 3;
      site.server.idle = true;
      assert.equal((await cycle(site)).submitted, 3);
      assert.equal((await cycle(site)).submitted, 0);
      site.server.activated = 9;
      await waitUntil(() => site.server.countIn('enrolled') === 3);
      assert.equal((await cycle(site)).submitted, 1, 'maxPilots is 4');
      const reasons = (await cycle(site)).plan.reasons;
      assert.match(reasons.find(reason => reason.step === 'cap')!.why, /own cap 4 with 4 not ended/);
    }));

  test('while the server is down nothing is submitted and no pilot is judged; afterwards all is', () =>
    withSite(async site => {
      site.server.activated = 2;
      await cycle(site);
      await waitUntil(() => site.server.countIn('enrolled') === 2);
      site.server.down = true;
      await site.finishPilots();
      await waitUntil(() => site.server.countIn('ended') === 2);
      await assert.rejects(cycle(site, { callSeconds: 1 }), codeOf('E_NOT_READY'));
      assert.deepEqual(await counts(site), { queued: 2 });
      site.server.down = false;
      site.server.activated = 0;
      await waitUntil(async () => {
        await cycle(site);
        return (await counts(site)).done === 2;
      });
    }));

  test('a lost answer to the request for submissions is asked for again, and nothing is submitted meanwhile', () =>
    withSite(async site => {
      site.server.activated = 3;
      site.server.idle = true;
      site.server.loseAnswers.set('POST submissions', 99);
      const first = await cycle(site, { callSeconds: 1 });
      assert.equal(first.submitted, 0);
      assert.equal(site.notEnded(), 3, 'the whole request counts');
      site.server.loseAnswers.clear();
      assert.equal((await cycle(site)).submitted, 3);
      assert.equal(site.server.submissions.length, 3);
    }));

  test('a pilot that vanished from the engine is given up after two looks and given back', () =>
    withSite(async site => {
      site.server.activated = 2;
      await cycle(site, { local: { maxRunning: 1 } });
      site.server.activated = 0;
      await waitUntil(() => site.server.countIn('enrolled') === 1);
      const [batchId] = await readdir(join(site.state, 'spool'));
      const queued = site.server.submissions.find(submission => site.server.starts(submission.id) === 0)!;
      const working = site.server.submissions.find(submission => site.server.starts(submission.id) === 1)!;
      await rm(join(site.state, 'spool', batchId!, queued.id), { recursive: true });
      const config = { local: { maxRunning: 1 } };
      await cycle(site, config);
      assert.deepEqual(await counts(site), { queued: 1, running: 1 });
      await cycle(site, config);
      assert.equal((await counts(site)).lost, 1);
      await waitUntil(async () => {
        await cycle(site, config);
        return queued.withdrawn;
      });
      assert.equal(site.server.stateOf(working), 'enrolled');
    }));

  test('pilots of a ledger that is gone are found at the engine and count', () =>
    withSite(async site => {
      site.server.activated = 3;
      await cycle(site);
      await waitUntil(() => site.server.countIn('enrolled') === 3);
      for (const name of await readdir(site.state)) {
        if (name.startsWith('ledger.sqlite')) await rm(join(site.state, name));
      }
      site.server.activated = 50;
      const report = await cycle(site);
      assert.equal(site.notEnded(), 4);
      assert.equal(report.submitted, 1);
    }));

  test('a request left behind is given up when the cap was lowered or it is too old; its submissions are given back', () =>
    withSite(async site => {
      await cycle(site);
      const ledger = (await openExistingLedger(site.state))!;
      const batch = { batchId: newId(), requested: 3, validSeconds: 86_400, idempotencyKey: newId() };
      recordBatch(ledger.db, { ...batch, nowMs: Date.now() });
      recordBatch(ledger.db, {
        ...batch,
        batchId: newId(),
        requested: 1,
        idempotencyKey: newId(),
        nowMs: Date.now() - 86_400_000,
      });
      const { factory } = ledger.owner;
      ledger.close();
      for (const id of [newId(), newId(), newId()]) {
        site.server.submissions.push({ id, factory, withdrawn: false });
      }
      const report = await cycle(site, { maxPilots: 2 });
      assert.equal(report.submitted, 0);
      assert.equal(site.notEnded(), 0);
      assert.equal(site.server.countIn('withdrawn'), 3);
    }));

  test('a batch system that can be read only in part stops submission and says so', () =>
    withSite(async site => {
      site.server.activated = 3;
      await cycle(site, { maxPilots: 0 });
      await mkdir(join(site.state, 'spool', 'broken'));
      await writeFile(join(site.state, 'spool', 'broken', 'batch.json'), '{');
      const report = await cycle(site);
      assert.equal(report.submitted, 0);
      assert.match(report.plan.reasons[0]!.why, /only a part/);
      assert.match(report.problems[0]!, /broken/);
    }));

  test("an ended pilot's log is kept; its secret goes, and its sandbox by age", () =>
    withSite(async site => {
      site.server.activated = 1;
      await cycle(site);
      await site.finishPilots();
      site.server.activated = 0;
      await waitUntil(async () => {
        await cycle(site);
        return (await counts(site)).done === 1;
      });
      const { id } = site.server.submissions[0]!;
      const spool = join(site.state, 'spool');
      const [batchId] = (await readdir(spool)).filter(name => name !== 'starter.sh');
      assert.equal(existsSync(join(spool, batchId!, id, 'bootstrap.json')), false);
      assert.equal(existsSync(join(spool, batchId!, id, 'stdout')), true);
      await cycle(site, { keep: { sandboxSeconds: 0 } });
      assert.deepEqual(await readdir(spool), ['starter.sh']);
      const logs = join(site.state, 'logs');
      const [day] = await readdir(logs);
      assert.deepEqual(await readdir(join(logs, day!, batchId!)), [`${id}.out`]);
      await cycle(site, { keep: { logBytes: 0 } });
      assert.deepEqual(await readdir(logs), []);
    }));

  test('a tree that no path can name, left in one sandbox, does not stop the sweep', () =>
    withSite(async site => {
      site.server.activated = 1;
      await cycle(site);
      await site.finishPilots();
      site.server.activated = 0;
      await waitUntil(async () => {
        await cycle(site);
        return (await counts(site)).done === 1;
      });
      const { id } = site.server.submissions[0]!;
      const spool = join(site.state, 'spool');
      const [batchId] = (await readdir(spool)).filter(name => name !== 'starter.sh');
      const long = 'd'.repeat(200);
      execFileSync(
        'sh',
        ['-c', `for i in $(seq 60); do mkdir ${long} && cd -P ./${long} || exit 1; done; echo x >f`],
        { cwd: join(spool, batchId!, id) },
      );
      await cycle(site, { keep: { sandboxSeconds: 0 } });
      assert.deepEqual(await readdir(spool), ['starter.sh']);
    }));

  test('pilots of a killed release are asked once to end, with the reason in the ledger, and ended if they do not', () =>
    withSite(async site => {
      site.server.activated = 3;
      const stubborn = `mkdir '${site.pilots}/stubborn' 2>/dev/null && trap '' TERM\n${site.wrapper()}`;
      await cycle(site, {}, stubborn);
      await waitUntil(() => site.server.countIn('enrolled') === 3);
      site.server.activated = 0;
      const ids = [...site.server.submissions.map(({ id }) => id), newId()];
      site.server.remove = ids.map(submissionId => ({ submissionId, release: '1.0.0' }));
      const patient = { removeGraceSeconds: 1000 };
      await waitUntil(async () => {
        await cycle(site, patient);
        return (await counts(site)).cancelled === 2;
      });
      await cycle(site, patient);
      assert.deepEqual(await counts(site), { cancelled: 2, running: 1 });
      assert.deepEqual(await removals(site), [[3, 'its release 1.0.0 was revoked']]);
      await waitUntil(async () => {
        await cycle(site, { removeGraceSeconds: 0 });
        return (await counts(site)).cancelled === 3;
      });
      const [asked, forced] = await removals(site);
      assert.deepEqual(asked, [3, 'its release 1.0.0 was revoked']);
      assert.match(forced![1], /did not end when asked/);
    }));

  test('failed pilots in a row make the next cycles wait', () =>
    withSite(async site => {
      site.server.activated = 9;
      const failing = async () => {
        let report: CycleReport | undefined;
        await runAutopilot({
          config: AutopilotConfig.parse(site.config()),
          wrapper: 'echo no >&2; exit 2',
          log: silentLog,
          signal: new AbortController().signal,
          env: process.env,
          once: true,
          drain: false,
          onReady: first => {
            report = first;
          },
        });
        return report!;
      };
      assert.equal((await failing()).submitted, 4);
      await waitUntil(async () => {
        const report = await failing();
        return report.plan.reasons.some(reason => /last \d+ pilot\(s\) failed; waiting/.test(reason.why));
      });
      await waitUntil(async () => (await failing()).submitted === 0 && site.notEnded() === 0);
      const { failed, ...others } = await counts(site);
      assert.ok(failed! >= 4 && failed! <= 7, `${failed} failed`);
      assert.deepEqual(others, {});
      assert.equal((await failing()).submitted, 0);
      assert.equal(site.server.countIn('open'), 0);
    }));

  test('a dry run tells the plan, writes nothing and needs no lock', () =>
    withSite(async site => {
      site.server.activated = 3;
      const config = AutopilotConfig.parse(site.config());
      assert.equal((await dryRun(config, silentLog)).submit, 3);
      assert.equal(existsSync(site.state), false);
      await cycle(site);
      const ledger = await openExistingLedger(site.state);
      assert.equal((await dryRun(config, silentLog)).submit, 0);
      ledger?.close();
      assert.deepEqual(
        site.server.calls.filter(call => call === 'POST submissions'),
        ['POST submissions'],
      );
    }));
});
