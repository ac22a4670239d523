import { after, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { silentLog } from '../../../lib/log.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { ReplyBody } from '../../../lib/protocol.ts';
import { openEngine } from '../../../autopilot/open-engine.ts';
import { readStatus } from '../../../autopilot/read-status.ts';
import { stopPilots } from '../../../autopilot/stop-pilots.ts';
import { job, startTlsSite } from '../server/tls-site.ts';
import type { TlsSite } from '../server/tls-site.ts';
import { waitUntil } from '../../unit/autopilot/wait-until.ts';

const CAP = 2;
const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Autopilot processes on a real server, over TLS with the factory's certificate. */
async function startFactory(site: TlsSite) {
  const files = { ca: 'ca.pem', cert: 'factory.pem', key: 'factory.key' };
  const path = (name: keyof typeof files) => join(site.directory, files[name]);
  await writeFile(path('ca'), site.ca);
  await writeFile(path('cert'), site.users.factory.cert);
  await writeFile(path('key'), site.users.factory.key, { mode: 0o600 });
  const state = join(site.directory, 'autopilot');
  const config = {
    queue: 'q1',
    servers: [site.server.url],
    serverCa: path('ca'),
    cert: path('cert'),
    key: path('key'),
    caches: ['http://127.0.0.1:9/'],
    root: '/not/read/here',
    state,
    cycleSeconds: 0.1,
    maxPilots: 10,
  };
  const wrapper = `exec ${process.execPath} ${here('./plain-pilot.ts')}\n`;
  const start = (killAt?: string) =>
    spawn(process.execPath, [here('./autopilot-child.ts'), JSON.stringify({ config, wrapper, killAt })], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { PATH: process.env.PATH! },
    });
  return { state, start };
}

describe('on a real server', () => {
  test(
    'jobs are done through kill -9 of the autopilot, each once, never over the cap',
    { timeout: 120_000 },
    async t => {
      const site = await startTlsSite(t, {
        queues: [{ name: 'q1', vo: 'physics', maxPilots: CAP, allowContainment: ['none'] }],
        sweepSeconds: 0.5,
      });
      const { state, start } = await startFactory(site);
      t.after(async () => {
        const engine = await openEngine(
          { maxPilots: 1, local: { maxOutputBytes: 65_536, environment: {} } },
          { spool: join(state, 'spool'), env: process.env, log: silentLog },
        );
        await stopPilots(engine, { waitSeconds: 5, force: true, clock: systemClock });
      });
      const alice = site.client(site.users.alice);
      const { jobs } = await alice.call('submit', {
        body: { jobs: Array.from({ length: 6 }, () => job().jobs[0]!) },
      });
      for (const killAt of ['submissions-created', 'sandbox-rendered', 'engine-submitted']) {
        const killed = start(killAt);
        assert.deepEqual(await once(killed, 'exit'), [null, 'SIGKILL']);
      }
      const child = start();
      after(() => child.kill('SIGKILL'));
      const factory = site.client(site.users.factory);
      const demand = () => factory.call('demand', { params: { queue: 'q1' } });
      let most = 0;
      const finished = await waitUntil(async () => {
        const { pilotsIdle, pilotsBusy, submissionsOpen } = await demand();
        most = Math.max(most, pilotsIdle + pilotsBusy + submissionsOpen);
        const shown: ReplyBody<'listJobs'> = await alice.call('listJobs', {});
        return shown.jobs.every(({ state }) => state === 'finished') && shown.jobs;
      }, 60_000);
      assert.equal(finished.length, jobs.length);
      assert.ok(finished.every(({ attempts }) => attempts === 1));
      assert.ok(most > 0 && most <= CAP, `${most} at once`);
      const status = await waitUntil(() => {
        const seen = readStatus(state);
        return seen.live.length === 0 && seen;
      }, 30_000);
      const exited = once(child, 'exit');
      child.kill('SIGTERM');
      assert.deepEqual(await exited, [0, null]);
      const { submissions } = await factory.call('listSubmissions', {
        params: { queue: 'q1' },
        query: { factory: status.factory },
      });
      assert.equal(
        submissions.reduce((sum, { jobsDone }) => sum + jobsDone, 0),
        jobs.length,
      );
      assert.ok(submissions.every(({ state }) => state === 'ended' || state === 'withdrawn'));
      const worked = submissions.filter(({ jobsDone }) => jobsDone > 0);
      assert.equal(status.counts.done, worked.length);
      assert.deepEqual(
        Object.keys(status.counts).filter(key => !['done', 'done_empty', 'unsubmitted'].includes(key)),
        [],
      );
      assert.equal((await demand()).submissionsOpen, 0);
    },
  );
});
