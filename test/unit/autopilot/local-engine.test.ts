import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtemp, mkdir, readFile, rm, writeFile, readdir, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { silentLog } from '../../../lib/log.ts';
import { newId } from '../../../lib/ids.ts';
import { openLocalEngine } from '../../../autopilot/engines/local/local-engine.ts';
import { isAlive, readProcess, bootId } from '../../../autopilot/engines/local/process-identity.ts';
import type { Engine, EngineJob } from '../../../autopilot/engines/engine.ts';
import { waitUntil } from './wait-until.ts';

const root = await mkdtemp(join(tmpdir(), 'pilotage-local-engine-'));
const engines: Engine[] = [];
const signal = AbortSignal.timeout(60_000);
after(async () => {
  for (const engine of engines) {
    const { jobs } = await engine.snapshot(signal);
    await engine.cancel(jobs, 'kill');
    await engine.cancel(jobs, 'kill');
    await engine.close();
  }
  await rm(root, { recursive: true, force: true });
});

async function openEngine(options: { spool?: string; maxRunning?: number; maxOutputBytes?: number } = {}) {
  const spool = options.spool ?? (await mkdtemp(join(root, 'spool-')));
  const engine = await openLocalEngine({
    spool,
    maxRunning: options.maxRunning ?? 10,
    maxOutputBytes: options.maxOutputBytes ?? 65_536,
    environment: { PATH: process.env.PATH!, MARK: 'from options' },
    log: silentLog,
  });
  engines.push(engine);
  return { spool, engine };
}

/** Sandboxes of one batch, each with this script as its wrapper. */
async function makeBatch(spool: string, script: string, count = 1) {
  const batchId = newId();
  const submissionIds = Array.from({ length: count }, () => newId());
  for (const submissionId of submissionIds) {
    await mkdir(join(spool, batchId, submissionId), { recursive: true, mode: 0o700 });
    await writeFile(join(spool, batchId, submissionId, 'wrapper.sh'), script);
  }
  return { batchId, submissionIds };
}

async function jobsOf(engine: Engine, batchId: string): Promise<EngineJob[]> {
  const { complete, jobs } = await engine.snapshot(signal);
  assert.equal(complete, true);
  return jobs.filter(job => job.batchId === batchId);
}

const allEnded = (engine: Engine, batchId: string) => async () => {
  const jobs = await jobsOf(engine, batchId);
  return jobs.length > 0 && jobs.every(job => job.state === 'ended') && jobs;
};

test('a batch runs in its sandboxes: exit code, output, own session, given environment', async () => {
  const { spool, engine } = await openEngine();
  const script =
    'echo "$MARK $(pwd) ${HOME-none}"; echo oops >&2; cut -d" " -f6 /proc/$$/stat >session; exit 7';
  const batch = await makeBatch(spool, script, 2);
  const answer = await engine.submit(batch, signal);
  assert.equal(answer.outcome, 'submitted');
  const jobs = await waitUntil(allEnded(engine, batch.batchId));
  assert.equal(jobs.length, 2);
  for (const job of jobs) {
    assert.equal(job.exitCode, 7);
    const directory = join(spool, job.batchId, job.submissionId);
    assert.equal(String(await engine.fetchLog(job, 'stdout', 1000)), `from options ${directory} none\n`);
    assert.equal(String(await engine.fetchLog(job, 'stderr', 1000)), 'oops\n');
    const [pid] = (await readFile(join(directory, 'started'), 'utf8')).split(' ');
    assert.equal((await readFile(join(directory, 'session'), 'utf8')).trim(), pid);
    assert.equal((await stat(join(directory, 'stdout'))).mode & 0o077, 0);
  }
});

test('the same intent submitted twice, and by two engines at once, starts each pilot once', async () => {
  const { spool, engine } = await openEngine();
  const other = await openEngine({ spool });
  const batch = await makeBatch(spool, 'echo run >>runs; sleep 0.2', 4);
  const answers = await Promise.all([
    engine.submit(batch, signal),
    other.engine.submit(batch, signal),
    engine.submit(batch, signal),
  ]);
  assert.deepEqual(
    answers.map(answer => answer.outcome),
    ['submitted', 'submitted', 'submitted'],
  );
  assert.deepEqual(answers[0], answers[1]);
  await waitUntil(allEnded(engine, batch.batchId));
  await engine.submit(batch, signal);
  for (const submissionId of batch.submissionIds) {
    assert.equal(await readFile(join(spool, batch.batchId, submissionId, 'runs'), 'utf8'), 'run\n');
  }
});

test('slots are held and the queue is served in order as they free up', async () => {
  const { spool, engine } = await openEngine({ maxRunning: 2 });
  const batch = await makeBatch(spool, 'date +%s%N >began; sleep 0.15; date +%s%N >finished', 6);
  await engine.submit(batch, signal);
  let most = 0;
  await waitUntil(async () => {
    const jobs = await jobsOf(engine, batch.batchId);
    most = Math.max(most, jobs.filter(job => job.state === 'running').length);
    return jobs.every(job => job.state === 'ended');
  });
  assert.ok(most <= 2 && most > 0, `${most} ran together`);
  const times = await Promise.all(
    batch.submissionIds.map(async id => ({
      began: BigInt(await readFile(join(spool, batch.batchId, id, 'began'), 'utf8')),
      finished: BigInt(await readFile(join(spool, batch.batchId, id, 'finished'), 'utf8')),
    })),
  );
  for (const { began } of times) {
    const together = times.filter(other => other.began <= began && began < other.finished);
    assert.ok(together.length <= 2, `${together.length} overlap`);
  }
});

test('a restarted engine finds running pilots, their ends and the queue', async () => {
  const first = await openEngine({ maxRunning: 1 });
  const batch = await makeBatch(first.spool, 'until [ -e go ]; do sleep 0.05; done; exit 3', 2);
  await first.engine.submit(batch, signal);
  await first.engine.close();
  const { engine } = await openEngine({ spool: first.spool, maxRunning: 1 });
  await waitUntil(async () => (await jobsOf(engine, batch.batchId))[0]?.state === 'running');
  assert.equal((await jobsOf(engine, batch.batchId))[1]?.state, 'queued');
  for (const id of batch.submissionIds) await writeFile(join(first.spool, batch.batchId, id, 'go'), '');
  const jobs = await waitUntil(allEnded(engine, batch.batchId));
  assert.deepEqual(
    jobs.map(job => job.exitCode),
    [3, 3],
  );
});

test('absence is proved and sealed: a batch given up can never be submitted afterwards', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'echo run >runs');
  const lookup = await engine.findByBatch(batch.batchId, signal);
  assert.equal(lookup.found, 'absent');
  assert.equal((await engine.submit(batch, signal)).outcome, 'rejected');
  assert.deepEqual(await jobsOf(engine, batch.batchId), []);
  const other = await makeBatch(spool, 'exit 0');
  await engine.submit(other, signal);
  assert.equal((await engine.findByBatch(other.batchId, signal)).found, 'present');
  assert.equal((await engine.findByBatch(newId(), signal)).found, 'absent');
});

test('a batch without its sandboxes is rejected whole', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'exit 0');
  const answer = await engine.submit(
    { batchId: batch.batchId, submissionIds: [...batch.submissionIds, newId()] },
    signal,
  );
  assert.equal(answer.outcome, 'rejected');
  assert.deepEqual(await jobsOf(engine, batch.batchId), []);
});

test('TERM reaches the wrapper and its exit code is kept; a queued pilot never starts once cancelled', async () => {
  const { spool, engine } = await openEngine({ maxRunning: 1 });
  const script = 'trap "echo handed back; exit 9" TERM; : >ready; while :; do sleep 0.05; done';
  const batch = await makeBatch(spool, script, 2);
  await engine.submit(batch, signal);
  const [first, second] = batch.submissionIds;
  await waitUntil(async () => (await readdir(join(spool, batch.batchId, first!))).includes('ready'));
  await engine.cancel(
    batch.submissionIds.map(submissionId => ({ batchId: batch.batchId, submissionId })),
    'term',
  );
  const jobs = await waitUntil(allEnded(engine, batch.batchId));
  assert.deepEqual(
    jobs.map(job => [job.exitCode, job.cancelled]),
    [
      [9, true],
      [null, true],
    ],
  );
  assert.equal(
    String(await engine.fetchLog({ batchId: batch.batchId, submissionId: first! }, 'stdout', 100)),
    'handed back\n',
  );
  assert.equal((await readdir(join(spool, batch.batchId, second!))).includes('stdout'), false);
});

test('KILL first ends what runs below the wrapper, so that it can still clean up and report', async () => {
  const { spool, engine } = await openEngine();
  const script = 'sh -c "trap : TERM; : >ready; while :; do sleep 0.05; done"; echo "agent died: $?"; exit 5';
  const batch = await makeBatch(spool, script);
  await engine.submit(batch, signal);
  const ref = { batchId: batch.batchId, submissionId: batch.submissionIds[0]! };
  await waitUntil(async () => (await readdir(join(spool, ref.batchId, ref.submissionId))).includes('ready'));
  await engine.cancel([ref], 'kill');
  const [job] = await waitUntil(allEnded(engine, batch.batchId));
  assert.equal(job?.exitCode, 5);
  assert.equal(String(await engine.fetchLog(ref, 'stdout', 100)), 'agent died: 137\n');
});

test('a wrapper that ignores everything is ended by the second KILL', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'trap "" TERM; : >ready; while :; do sleep 0.05; done');
  await engine.submit(batch, signal);
  const ref = { batchId: batch.batchId, submissionId: batch.submissionIds[0]! };
  await waitUntil(async () => (await readdir(join(spool, ref.batchId, ref.submissionId))).includes('ready'));
  await engine.cancel([ref], 'term');
  await engine.cancel([ref], 'kill');
  await engine.cancel([ref], 'kill');
  const [job] = await waitUntil(allEnded(engine, batch.batchId));
  assert.equal(job?.exitCode, null);
});

test('TERM at any moment of the start ends the pilot: it is neither lost nor passed on twice', async () => {
  const { spool, engine } = await openEngine({ maxRunning: 40 });
  const script = 'trap "echo told >>told" TERM; until [ -e told ]; do sleep 0.02; done; sleep 0.2';
  const batch = await makeBatch(spool, script, 40);
  await engine.submit(batch, signal);
  for (const submissionId of batch.submissionIds) {
    await engine.cancel([{ batchId: batch.batchId, submissionId }], 'term');
    await engine.cancel([{ batchId: batch.batchId, submissionId }], 'term');
  }
  await waitUntil(allEnded(engine, batch.batchId), 30_000);
  for (const submissionId of batch.submissionIds) {
    const told = await readFile(join(spool, batch.batchId, submissionId, 'told'), 'utf8').catch(() => '');
    assert.ok(['', 'told\n'].includes(told), told);
  }
});

test('a pilot whose starter is killed still counts while its wrapper lives, and ends without exit code', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'until [ -e go ]; do sleep 0.05; done');
  await engine.submit(batch, signal);
  const directory = join(spool, batch.batchId, batch.submissionIds[0]!);
  await waitUntil(async () => (await readdir(directory)).includes('wrapper.pid'));
  const [pid] = (await readFile(join(directory, 'started'), 'utf8')).split(' ');
  process.kill(Number(pid), 'SIGKILL');
  await waitUntil(async () => ['Z', undefined].includes(readProcess(Number(pid))?.state));
  assert.equal((await jobsOf(engine, batch.batchId))[0]?.state, 'running');
  await writeFile(join(directory, 'go'), '');
  const [job] = await waitUntil(allEnded(engine, batch.batchId));
  assert.equal(job?.exitCode, null);
});

test('output is bounded: the beginning and the very end are kept', async () => {
  const { spool, engine } = await openEngine({ maxOutputBytes: 10_000 });
  const script =
    'i=0; while [ $i -lt 6000 ]; do echo "line $i of a talkative pilot"; i=$((i+1)); done; echo LAST';
  const batch = await makeBatch(spool, script);
  await engine.submit(batch, signal);
  const [job] = await waitUntil(allEnded(engine, batch.batchId));
  const names = await readdir(join(spool, batch.batchId, batch.submissionIds[0]!));
  assert.ok(!names.includes('.out'));
  const sizes = await Promise.all(
    ['stdout', 'stdout.tail'].map(
      async name => (await stat(join(spool, batch.batchId, batch.submissionIds[0]!, name))).size,
    ),
  );
  assert.deepEqual(sizes, [10_240, 16_384]);
  const log = String(await engine.fetchLog(job!, 'stdout', 100_000));
  assert.match(log, /^line 0 of/);
  assert.match(log, /LAST\n$/);
});

test('pilots that end at once, many together, all end with code and output', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'echo said; exit 2', 40);
  await engine.submit(batch, signal);
  const jobs = await waitUntil(allEnded(engine, batch.batchId), 30_000);
  for (const job of jobs) {
    assert.equal(job.exitCode, 2);
    assert.equal(String(await engine.fetchLog(job, 'stdout', 100)), 'said\n');
  }
});

test('a daemon left behind that holds the output does not keep the pilot from ending', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'setsid sleep 30 & echo $! >daemon; echo done; exit 0');
  await engine.submit(batch, signal);
  const [job] = await waitUntil(allEnded(engine, batch.batchId), 15_000);
  assert.equal(job?.exitCode, 0);
  assert.equal(String(await engine.fetchLog(job, 'stdout', 100)), 'done\n');
  const daemon = Number(await readFile(join(spool, job.batchId, job.submissionId, 'daemon'), 'utf8'));
  process.kill(daemon, 'SIGKILL');
});

test('a pid that was given to another process is not taken for the pilot', async () => {
  const child = spawn('sleep', ['20'], { detached: true, stdio: 'ignore' });
  try {
    const seen = readProcess(child.pid!)!;
    const identity = { pid: child.pid!, startTicks: seen.startTicks, bootId: bootId() };
    assert.equal(isAlive(identity), true);
    assert.equal(isAlive({ ...identity, startTicks: String(Number(seen.startTicks) - 1) }), false);
    assert.equal(isAlive({ ...identity, bootId: 'an earlier boot' }), false);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a batch record that cannot be read makes the snapshot incomplete', async () => {
  const { spool, engine } = await openEngine();
  await mkdir(join(spool, 'broken'));
  await writeFile(join(spool, 'broken', 'batch.json'), '{');
  const { complete, problems } = await engine.snapshot(signal);
  assert.equal(complete, false);
  assert.match(problems[0]!, /^broken: /);
  await rm(join(spool, 'broken'), { recursive: true });
});

test('an ended pilot is forgotten with its sandbox, a running one is not', async () => {
  const { spool, engine } = await openEngine();
  const batch = await makeBatch(spool, 'until [ -e go ]; do sleep 0.05; done');
  const ref = { batchId: batch.batchId, submissionId: batch.submissionIds[0]! };
  await engine.submit(batch, signal);
  await waitUntil(async () => (await jobsOf(engine, batch.batchId))[0]?.state === 'running');
  await engine.forget(ref);
  assert.equal((await jobsOf(engine, batch.batchId)).length, 1);
  await writeFile(join(spool, ref.batchId, ref.submissionId, 'go'), '');
  await waitUntil(allEnded(engine, batch.batchId));
  await engine.forget(ref);
  assert.deepEqual(await readdir(spool), ['starter.sh']);
});
