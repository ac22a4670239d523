import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lockState, tryProcessLock } from '../../../lib/process-lock.ts';

const module = new URL('../../../lib/process-lock.ts', import.meta.url).href;

test('one process at a time has the lock; it falls with its holder, however that ends', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-lock-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'x.lock');
  assert.deepEqual(lockState(file), { held: false, pid: null });
  const script = `import { tryProcessLock } from ${JSON.stringify(module)};
    globalThis.lock = tryProcessLock(${JSON.stringify(file)}); console.log('held'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  assert.equal(tryProcessLock(file, 0), null);
  assert.deepEqual(lockState(file), { held: true, pid: child.pid });
  child.kill('SIGKILL');
  await once(child, 'exit');
  const lock = tryProcessLock(file);
  assert.ok(lock);
  assert.equal(tryProcessLock(file, 0), null, 'not twice in one process either');
  lock.release();
  assert.deepEqual(lockState(file), { held: false, pid: null });
});
