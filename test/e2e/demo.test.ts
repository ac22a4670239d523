import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
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
