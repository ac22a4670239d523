import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readFile, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { silentLog } from '../../../lib/log.ts';
import { startFaultyFront } from '../../lab/faulty-front.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import type { ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../lab/temporary.ts';
import { temporaryDirectory, waitUntil } from './web.ts';
import { runWrapper, startWrapper } from './wrapper-box.ts';

/** As many as the cores of a worker node start at once. */
const CROWD = 64;
const checkSeconds = 30;
const mutable = /^metadata\/(timestamp|2\.root)\.json$/;

let lab: ReleaseRepositoryLab;
const home = await makeTemporaryDirectory('wrapper-crowd');
after(home.remove);
before(async () => {
  lab = await makeReleaseRepository({ directory: home.path, queues: { 'Q-canary': 'canary' } });
});

/** A real store behind a front that counts. */
async function counted(t: TestContext) {
  const store = await serveStore({ directory: lab.publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close(0));
  const front = await startFaultyFront({ upstream: store.url });
  t.after(() => front.close());
  const directory = await temporaryDirectory(t);
  const options = (box: string) => ({
    directory: join(directory, box),
    store: join(directory, 'store'),
    rootJson: lab.rootJson,
    caches: [front.url],
  });
  return { front, directory, options, metadata: join(directory, 'store/metadata') };
}

test('64 wrappers at once: one request for what never changes, one question in 30 s, nothing torn', async t => {
  const { front, options, metadata } = await counted(t);
  const watch = watchMetadata(t, metadata);
  for (const kind of ['cold', 'warm']) {
    front.requests.length = 0;
    const begun = Date.now();
    const boxes = await Promise.all(
      Array.from({ length: CROWD }, (_, index) => startWrapper(options(`${kind}-${index}`))),
    );
    const runs = await Promise.all(boxes.map(({ ended }) => ended));
    const elapsed = (Date.now() - begun) / 1000;
    for (const run of runs) assert.equal(run.exit, 0, run.stderr);
    const counts = Map.groupBy(front.requests, ({ path }) => path);
    for (const [path, { length }] of counts) {
      const most = mutable.test(path) ? 1 + Math.floor(elapsed / checkSeconds) : 1;
      assert.ok(length <= most, `${kind}: ${path} ${length} times in ${elapsed} s`);
    }
    if (kind === 'cold') assert.ok(counts.has('metadata/timestamp.json'));
    else for (const path of counts.keys()) assert.match(path, mutable);
    t.diagnostic(`${CROWD} ${kind} wrappers in ${elapsed.toFixed(1)} s`);
  }
  assert.ok((await watch.end()) > 10, 'the metadata was read while it was written');
});

/** Reads every metadata file again and again; `end` gives the number of readings. */
function watchMetadata(t: TestContext, metadata: string): { end: () => Promise<number> } {
  const ended = new AbortController();
  t.after(() => ended.abort());
  const watching = (async () => {
    let readings = 0;
    while (!ended.signal.aborted) {
      for (const name of await readdir(metadata, { recursive: true }).catch(() => [])) {
        if (!name.endsWith('.json')) continue;
        const text = await readFile(join(metadata, name), 'utf8').catch(() => '{}');
        assert.doesNotThrow(() => JSON.parse(text) as unknown, name);
        readings += 1;
      }
      await new Promise(resolve => setTimeout(resolve, 2));
    }
    return readings;
  })();
  watching.catch(() => undefined);
  return {
    end: () => {
      ended.abort();
      return watching;
    },
  };
}

test('after 30 s, or past a time that lies ahead, the caches are asked again', async t => {
  const { front, options, metadata } = await counted(t);
  assert.equal((await runWrapper(options('first'))).exit, 0);
  const [pin] = await readdir(metadata);
  const checked = join(metadata, pin!, 'checked');
  const at = Number(await readFile(checked, 'utf8'));
  assert.ok(Math.abs(Date.now() / 1000 - at) < checkSeconds);
  const asks = async (noted: string) => {
    await writeFile(checked, noted);
    front.requests.length = 0;
    const run = await (await startWrapper(options('second'))).ended;
    assert.equal(run.exit, 0, run.stderr);
    return [front.requests.map(({ path }) => path), run.result.cache];
  };
  const now = Math.floor(Date.now() / 1000);
  const both = ['metadata/2.root.json', 'metadata/timestamp.json'];
  assert.deepEqual(await asks(`${now}\n`), [[], 'local']);
  assert.deepEqual(await asks(`${now - checkSeconds - 1}\n`), [both, front.url]);
  assert.deepEqual(await asks(`${now + 3600}\n`), [both, front.url]);
  assert.deepEqual(await asks('soon\n'), [both, front.url]);
  assert.deepEqual(await asks('0899\n'), [both, front.url], 'no octal number');
});

test('floors newer than what the node has are not met from its store, and no cache is blamed for that', async t => {
  const { front, options } = await counted(t);
  const { exit, result } = await runWrapper(options('before'));
  assert.equal(exit, 0);
  const { timestamp } = await lab.refresh();
  const floors = { root: 1, timestamp, snapshot: 1, channelSerials: { stable: 1 }, signedTimeMs: 0 };
  const run = await (await startWrapper({ ...options('after'), floors })).ended;
  assert.deepEqual(run.result, { ...result, cache: front.url });
});

test("another queue's pilot fetches what it lacks, and does not ask again what was just asked", async t => {
  const { front, options } = await counted(t);
  assert.equal((await runWrapper(options('first'))).exit, 0);
  front.requests.length = 0;
  const run = await (await startWrapper({ ...options('second'), queue: 'Q-canary' })).ended;
  assert.equal(run.exit, 0, run.stderr);
  assert.deepEqual(
    front.requests.map(({ path }) => path.replace(/[0-9a-f]{64}|\d+/, 'N')),
    ['metadata/N.canary.json', 'targets/channels/N.canary.json'],
  );
});

test('a wrapper that was killed while it downloaded holds nobody up', async t => {
  const { front, options } = await counted(t);
  front.rules = [{ path: /node-/, times: 1, fault: { kind: 'stall', afterBytes: 10 } }];
  const killed = await startWrapper({ ...options('killed'), detached: true });
  killed.ended.catch(() => undefined);
  await waitUntil(() => front.count(/node-/) === 1, 'the download began', 30);
  process.kill(-killed.child.pid!, 'SIGKILL');
  const run = await (await startWrapper(options('next'))).ended;
  assert.equal(run.exit, 0, run.stderr);
  assert.equal(front.count(/node-/), 2);
  assert.equal(front.count(/timestamp/), 1, 'what the first had verified was not asked for again');
});

/** This process, as it signs a lock. */
async function alive(): Promise<string> {
  const stat = await readFile('/proc/self/stat', 'utf8');
  return `${process.pid} ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}\n`;
}

test('a lock that was made just when the dead one before it was removed is left to who made it', async t => {
  const { options, directory } = await counted(t);
  const lock = join(directory, 'store/lock');
  const [tools, moved] = [join(directory, 'tools'), join(directory, 'moved')];
  await mkdir(lock, { recursive: true });
  await chmod(join(directory, 'store'), 0o700);
  await writeFile(join(lock, 'pid'), '999999999 1\n');
  await mkdir(tools);
  // Somebody else took the dead lock over, and signed his, since this wrapper looked.
  const mv = `#!/bin/sh
if [ "$1" = '${lock}' ] && [ ! -f '${moved}' ]; then
	echo '${(await alive()).trim()}' >'${lock}/pid'
	/bin/mv "$@"
	exec touch '${moved}'
fi
exec /bin/mv "$@"
`;
  await writeFile(join(tools, 'mv'), mv, { mode: 0o755 });
  const box = await startWrapper({
    ...options('late'),
    environment: { PATH: `${tools}:${process.env.PATH}` },
  });
  const owner = () => readFile(join(lock, 'pid'), 'utf8').catch(() => '');
  await waitUntil(async () => (await owner()) !== '999999999 1\n' && existsSync(moved), 'it was moved', 30);
  await waitUntil(async () => (await owner()) === (await alive()), 'the lock is back', 10);
  await rm(lock, { recursive: true });
  const run = await box.ended;
  assert.equal(run.exit, 0, run.stderr);
});

test('a wrapper whose lock was taken over leaves that of its successor', async t => {
  const { front, options, directory } = await counted(t);
  front.rules = [{ path: /node-/, times: 1, fault: { kind: 'stall', afterBytes: 10 } }];
  const environment = { PILOTAGE_STALL_SECONDS: '2' };
  const box = await startWrapper({ ...options('slow'), environment });
  await waitUntil(() => front.count(/node-/) === 1, 'the download began', 30);
  await writeFile(join(directory, 'store/lock/pid'), await alive());
  box.child.kill('SIGTERM');
  assert.equal((await box.ended).result.code, 'E_ABORTED');
  assert.equal(await readFile(join(directory, 'store/lock/pid'), 'utf8'), await alive());
});

test('what nobody started for 30 days makes room, what is started stays', async t => {
  const { options, directory } = await counted(t);
  assert.equal((await runWrapper(options('first'))).exit, 0);
  const unpacked = join(directory, 'store/unpacked');
  const used = await readdir(unpacked);
  const daysAgo = (days: number) => new Date(Date.now() - days * 86_400_000);
  for (const [name, days] of [
    ['old', 31],
    ['recent', 29],
  ] as const) {
    await mkdir(join(unpacked, name));
    await utimes(join(unpacked, name), daysAgo(days), daysAgo(days));
  }
  for (const name of used) await utimes(join(unpacked, name), daysAgo(29), daysAgo(29));
  assert.equal((await runWrapper(options('second'))).exit, 0);
  assert.deepEqual((await readdir(unpacked)).sort(), [...used, 'recent'].sort());
  for (const name of used) assert.ok((await stat(join(unpacked, name))).mtime > daysAgo(1));
});
