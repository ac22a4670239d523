import { after, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bootstrap } from '../../../lib/protocol/release.ts';
import { newId } from '../../../lib/ids.ts';
import { renderSandbox, sandboxPath } from '../../../autopilot/spool/render-sandbox.ts';
import { overdue, sweepFiles } from '../../../autopilot/spool/sweep-files.ts';

const root = await mkdtemp(join(tmpdir(), 'pilotage-spool-'));
after(() => rm(root, { recursive: true, force: true }));

test('a sandbox is readable by its owner only, its bootstrap minified with sorted keys', async () => {
  const pilot = { batchId: newId(), submissionId: newId() };
  const bootstrap = {
    schema: 1 as const,
    instance: 'test',
    queue: 'q',
    submissionId: pilot.submissionId,
    secret: 'one-time',
    servers: ['https://server.test/'],
    serverCa: 'PEM',
    caches: ['http://cache.test/'],
    site: 'none',
    floors: null,
    agent: { idleSeconds: 5, nested: { b: 1, a: 2 } },
  };
  await renderSandbox(root, pilot, { wrapper: 'exit 0', bootstrap });
  await renderSandbox(root, pilot, { wrapper: 'exit 0', bootstrap });
  const directory = sandboxPath(root, pilot);
  assert.deepEqual(await readdir(directory), ['bootstrap.json', 'wrapper.sh']);
  for (const path of [directory, join(directory, 'bootstrap.json'), join(directory, 'wrapper.sh')]) {
    assert.equal((await stat(path)).mode & 0o077, 0, path);
  }
  const text = await readFile(join(directory, 'bootstrap.json'), 'utf8');
  assert.deepEqual(Bootstrap.parse(JSON.parse(text)), bootstrap);
  assert.match(text, /^\{"agent":\{"idleSeconds":5,"nested":\{"a":2,"b":1\}\},"caches":/);
  assert.match(text, /"submissionId":"[0-9A-Z]{26}"\}$/);
});

test('what is too old goes, then the oldest until the rest fits', () => {
  const found = [1, 2, 3, 4].map(day => ({ path: String(day), bytes: 10, changedMs: day * 1000 }));
  const limits = { nowMs: 5000, maxAgeSeconds: 3, maxBytes: 100 };
  const names = (limit: typeof limits) => overdue(found, limit).map(item => item.path);
  assert.deepEqual(names(limits), ['1']);
  assert.deepEqual(names({ ...limits, maxBytes: 20 }), ['2', '1']);
  assert.deepEqual(names({ ...limits, maxAgeSeconds: 10, maxBytes: 100 }), []);
});

test('sweeping removes overdue files and the directories they leave empty', async () => {
  const logs = join(root, 'logs');
  await mkdir(join(logs, 'old', 'batch'), { recursive: true });
  await mkdir(join(logs, 'new'), { recursive: true });
  await writeFile(join(logs, 'old', 'batch', 'a.out'), 'x');
  await writeFile(join(logs, 'new', 'b.out'), 'y');
  await utimes(join(logs, 'old', 'batch', 'a.out'), 1, 1);
  const limits = { nowMs: Date.now(), maxAgeSeconds: 3600, maxBytes: 100 };
  assert.equal(await sweepFiles(logs, limits), 1);
  assert.deepEqual(await readdir(logs), ['new']);
  assert.equal(await sweepFiles(join(root, 'nowhere'), limits), 0);
});
