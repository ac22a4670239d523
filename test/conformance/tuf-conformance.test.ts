import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const sources = process.env.PILOTAGE_TUF_CONFORMANCE ?? join(import.meta.dirname, '../../build/tuf');
const skip =
  !existsSync(join(sources, 'src/tuf-conformance')) &&
  `no sources in ${sources}: docs/how-to/run-the-conformance-suite.md says how to get them`;

test('the public conformance suite of TUF clients passes whole', { skip, timeout: 900_000 }, () => {
  const run = spawnSync(join(import.meta.dirname, 'run.sh'), { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stdout + run.stderr);
  const passed = Number(/^tuf-conformance: (\d+) passed, 0 failed, 0 skipped$/m.exec(run.stdout)?.[1]);
  assert.ok(passed >= 113, run.stdout);
});
