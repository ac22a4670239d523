import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { CacheServeConfig } from '../../codecache/config/schema.ts';
import { serveStore } from '../../codecache/origin/serve-store.ts';
import { silentLog } from '../../lib/log.ts';
import { freePort } from '../lab/ports.ts';
import { makeReleaseRepository } from '../lab/release-repository.ts';
import { temporaryDirectory } from '../lab/temporary.ts';

const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

test('docs/how-to/run-a-cache.md: its commands work as they stand', async t => {
  const directory = await temporaryDirectory(t, 'docs-cache');
  const lab = await makeReleaseRepository({ directory });
  const store = await serveStore({
    directory: lab.publicDirectory,
    listen: '127.0.0.1:0',
    log: silentLog,
  });
  t.after(() => store.close(0));
  await symlink(join(checkout, 'pilotage'), join(directory, 'pilotage'));
  const page = await readFile(join(checkout, 'docs/how-to/run-a-cache.md'), 'utf8');
  const blocks = [...page.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!);
  assert.equal(blocks.length, 5);
  const script = blocks
    .join('\n')
    .replaceAll('127.0.0.1:8091', `127.0.0.1:${await freePort()}`)
    .replaceAll('http://store.example.org:8090', store.url);
  // Services run until they are told to end.
  const whole = `trap 'kill $(jobs -p); wait' EXIT\n${script}`;
  const { stdout } = await promisify(execFile)('bash', ['-euc', whole], {
    cwd: directory,
    timeout: 120_000,
    env: { ...process.env, PILOTAGE_LOG: 'error' },
  });
  assert.match(stdout, /"ready":true,"checks"/);
  assert.match(stdout, /^x-cache: MISS/im);
  assert.match(stdout, /, 2 processes\n[1-9]\d* answers, /);
  assert.match(stdout, /^pilotage_cache_upstream_blamed_total\{.*\} 0$/m);
  assert.match(stdout, /^restarted with 2 processes$/m);
  assert.match(stdout, /^out of service.*\nin service again$/m);
  assert.match(stdout, /^\d+ objects, .*: 0 damaged$/m);
  assert.match(stdout, /^removed 0 objects and [1-9]\d* metadata answers$/m);
  assert.match(
    await readFile(join(directory, 'access.log.1'), 'utf8'),
    /"path":"\/metadata\/timestamp.json"/,
  );
  assert.match(await readFile(join(directory, 'access.log'), 'utf8'), /"path":"\/livez"/);
  const [, yaml] = /```yaml\n(.*?)```/s.exec(page)!;
  assert.equal(CacheServeConfig.parse(parse(yaml!)).memoryBytes, 512 * 2 ** 20);
});
