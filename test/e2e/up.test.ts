import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { exitCodes } from '../../lib/cli.ts';
import type { JobReport } from '../../ops/client/wait.ts';
import { waitUntil } from '../lab/wait-until.ts';

const launcher = fileURLToPath(new URL('../../pilotage', import.meta.url));
let site: string;
let up: ChildProcess;

async function startUp(): Promise<ChildProcess> {
  const child = spawn(launcher, ['up', '--json', '--dir', site], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface({ input: child.stdout })) {
    assert.equal((JSON.parse(line) as { ready: boolean }).ready, true);
    return child;
  }
  throw new Error('pilotage up ended before it was ready');
}

async function stop(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

before(async () => {
  site = await mkdtemp(join(tmpdir(), 'pilotage-up-'));
  up = await startUp();
});
after(async () => {
  if (up?.exitCode === null) await stop(up);
  await rm(site, { recursive: true, force: true, maxRetries: 10 });
});

const pilotage = (...args: string[]) =>
  spawnSync(launcher, args, {
    encoding: 'utf8',
    timeout: 90_000,
    env: { ...process.env, PILOTAGE_SITE: site },
  });

test('submit, wait, see and read a job, with an output that is kept', async () => {
  const submitted = pilotage(
    'submit',
    '--json',
    '--wait',
    '60',
    '--name',
    'hello',
    '--output',
    'answer.txt',
    '--',
    'sh',
    '-c',
    'echo hello; echo oops >&2; echo 42 > answer.txt',
  );
  assert.equal(submitted.status, 0, submitted.stderr);
  const [report] = JSON.parse(submitted.stdout) as JobReport[];
  const { jobId } = report!.job;
  assert.equal(report!.job.state, 'finished');
  assert.equal(report!.attempts[0]!.containment, 'none');
  assert.equal(await readFile(fileURLToPath(report!.attempts[0]!.outputs[0]!.url), 'utf8'), '42\n');
  const logs = pilotage('logs', jobId);
  assert.equal(logs.stdout, 'hello\n');
  assert.equal(logs.stderr, 'oops\n');
  assert.match(pilotage('status').stdout, new RegExp(`${jobId} +hello +demo +finished`));
  const shown = pilotage('status', jobId).stdout;
  assert.match(shown, /attempt 1 +finished on .*pilotage-pilot .*, not contained/);
  assert.match(shown, /given out by server 0\.\d+\.\d+/);
  assert.match(shown, /activated -> sent/);
  assert.match(pilotage('pilots').stdout, /^version +channel +queue +pilots +standing\n|^No pilots work now/);
});

test('kill ends a running job, and a job that is not there is a clear error', async () => {
  const [submitted] = JSON.parse(pilotage('submit', '--json', '--', 'sleep', '600').stdout) as {
    jobId: string;
  }[];
  const state = () =>
    (JSON.parse(pilotage('status', '--json', submitted!.jobId).stdout) as JobReport).job.state;
  await waitUntil('the job runs', () => state() === 'running', { seconds: 40, everyMilliseconds: 500 });
  const killed = pilotage('kill', submitted!.jobId, '--reason', 'no longer needed');
  assert.equal(killed.status, 0, killed.stderr);
  await waitUntil('the job is cancelled', () => state() === 'cancelled', {
    seconds: 40,
    everyMilliseconds: 500,
  });
  const missing = pilotage('status', '01ARZ3NDEKTSV4RRFFQ69G5FAV');
  assert.equal(missing.status, exitCodes.usage);
  assert.match(missing.stderr, /^E_NOT_FOUND: /);
});

test('a failing job makes submit --wait fail, with the cause and its fix', () => {
  const { status, stdout } = pilotage('submit', '--wait', '60', '--', 'sh', '-c', 'exit 3');
  assert.equal(status, exitCodes.failed);
  assert.match(stdout, /cause +PAYLOAD_EXIT \(payload\): exit code 3/);
  assert.match(stdout, /fix +\S/);
});

test('a second start of the same site is refused; after a stop the site comes back with its history', async () => {
  const second = spawnSync(launcher, ['up', '--dir', site], { encoding: 'utf8', timeout: 60_000 });
  assert.equal(second.status, exitCodes.usage);
  assert.match(second.stderr, /^E_SITE_BUSY: /m);
  await stop(up);
  assert.equal(pilotage('status').status, exitCodes.unreachable);
  up = await startUp();
  assert.match(pilotage('status').stdout, /hello +demo +finished/);
  const again = pilotage('submit', '--wait', '60', '--', 'true');
  assert.equal(again.status, 0, again.stderr);
});
