import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLog } from '../../../lib/log.ts';
import { newId } from '../../../lib/ids.ts';
import { openLocalEngine } from '../../../autopilot/engines/local/local-engine.ts';
import { systemClock } from '../../../lib/clock.ts';
import { waitUntil } from './wait-until.ts';

const root = await mkdtemp(join(tmpdir(), 'pilotage-hostile-sandbox-'));
after(() => rm(root, { recursive: true, force: true }));
const signal = AbortSignal.timeout(60_000);

/** What `work` gives; a failure when it takes longer than anything here should. */
const soon = async <T>(what: string, work: Promise<T>): Promise<T> => {
  const done = new AbortController();
  const late = systemClock.sleep(5000, done.signal).then(() => {
    throw new Error(`${what} hangs`);
  });
  late.catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } finally {
    done.abort();
  }
};

test('FIFOs, links and huge files in the place of outputs and markers hold nobody', async () => {
  const spool = await mkdtemp(join(root, 'spool-'));
  const engine = await openLocalEngine({
    spool,
    maxRunning: 2,
    maxOutputBytes: 65_536,
    environment: { PATH: process.env.PATH! },
    log: silentLog,
  });
  const pilot = { batchId: newId(), submissionId: newId() };
  const sandbox = join(spool, pilot.batchId, pilot.submissionId);
  await mkdir(sandbox, { recursive: true, mode: 0o700 });
  await writeFile(join(sandbox, 'wrapper.sh'), 'echo hello');
  await engine.submit({ batchId: pilot.batchId, submissionIds: [pilot.submissionId] }, signal);
  const ended = async () => {
    const { jobs } = await soon('the snapshot', engine.snapshot(signal));
    return jobs.every(job => job.state === 'ended') && jobs;
  };
  await waitUntil(ended);
  await engine.close();
  // Opened for reading, a FIFO without a writer waits for one, and takes a thread of the pool with it.
  execFileSync('sh', ['-c', 'rm -f stdout stderr && mkfifo stdout && ln -s /dev/zero stderr'], {
    cwd: sandbox,
  });
  const fromFifo = engine.fetchLog(pilot, 'stdout', 1024);
  try {
    assert.equal((await soon('reading stdout', fromFifo)).length, 0);
    assert.equal((await soon('reading stderr', engine.fetchLog(pilot, 'stderr', 1024))).length, 0);
  } finally {
    execFileSync('sh', ['-c', 'exec 3<>stdout; : >&3'], { cwd: sandbox });
    await fromFifo.catch(() => undefined);
  }
  execFileSync('sh', ['-c', 'rm exit && mkfifo exit && rm started && mkfifo started'], { cwd: sandbox });
  const again = await openLocalEngine({
    spool,
    maxRunning: 2,
    maxOutputBytes: 65_536,
    environment: { PATH: process.env.PATH! },
    log: silentLog,
  });
  const looked = again.snapshot(signal);
  try {
    await soon('the snapshot', looked);
  } finally {
    execFileSync('sh', ['-c', 'exec 3<>started; : >&3; exec 4<>exit; : >&4'], { cwd: sandbox });
    await looked.catch(() => undefined);
    await again.close();
  }
});
