import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { waitUntil } from '../lab/wait-until.ts';
import type { DemoResult } from '../../ops/demo/run-demo.ts';

const launcher = fileURLToPath(new URL('../../pilotage', import.meta.url));

test('pilotage demo: every line as it must be', () => {
  const { status, stdout, stderr } = spawnSync(launcher, ['demo', '--json'], {
    encoding: 'utf8',
    timeout: 240_000,
  });
  assert.equal(status, 0, stderr + stdout);
  const result = JSON.parse(stdout) as DemoResult;
  assert.equal(result.ok, true);
  const outcome = Object.fromEntries(
    result.lines.map(({ job, outcome, cause }) => [job, `${outcome} ${cause}`]),
  );
  for (let slice = 1; slice <= 8; slice += 1) assert.match(outcome[`sum-${slice}`]!, /^finished/);
  assert.match(outcome.merge!, /^finished/);
  assert.match(outcome.fails!, /^failed PAYLOAD_EXIT/);
  assert.match(outcome['over-walltime']!, /^failed WALLTIME_EXCEEDED/);
  assert.match(outcome['over-memory']!, /^failed MEMORY_EXCEEDED/);
  assert.match(outcome['submits-a-job']!, /E_PAYLOAD_CREDENTIAL by rule \S+/);
  assert.match(outcome['(tampered pilot)']!, /^refused E_TARGET_HASH from cache http/);
  assert.equal(result.directory, null, 'nothing is left behind');
});

test('pilotage demo, interrupted: says so, ends with 130 and leaves nothing behind', async () => {
  const before = demoDirectories();
  const child = spawn(launcher, ['demo'], { stdio: ['ignore', 'ignore', 'pipe'], detached: true });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')));
  await waitUntil('jobs run', () => said.includes('running 12 jobs'), {
    seconds: 120,
    everyMilliseconds: 100,
  });
  const ended = once(child, 'exit');
  process.kill(-child.pid!, 'SIGINT');
  const [code] = (await ended) as [number | null];
  assert.equal(code, 130, said);
  assert.match(said, /^E_ABORTED: /m);
  assert.doesNotMatch(said, /E_INTERNAL|\n\s+at /);
  assert.deepEqual(demoDirectories(), before);
});

const demoDirectories = () => readdirSync(tmpdir()).filter(name => name.startsWith('pilotage-demo-'));
