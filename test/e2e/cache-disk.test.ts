import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, readFile, readdir, rm, statfs, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { runPilotage, startCacheDaemon, startStoreDaemon } from '../lab/cache-daemons.ts';
import type { Served, ServedCache } from '../lab/cache-daemons.ts';
import { askEach, assertNothingWrong, assertServes, eachServed, startLoad } from '../lab/cache-load.ts';
import { makeCacheRelease } from '../lab/cache-release.ts';
import type { CacheRelease } from '../lab/cache-release.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../lab/temporary.ts';
import { waitUntil } from '../lab/wait-until.ts';

const home = await makeTemporaryDirectory('cache-disk');
after(home.remove);
const release = await makeCacheRelease(home.path);

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name));
}

/** What can become of a file. */
const DAMAGES: Record<string, (file: string) => Promise<void>> = {
  flipped: async file => {
    const bytes = await readFile(file);
    bytes[Math.floor(bytes.length * 0.9)]! ^= 1;
    await writeFile(file, bytes);
  },
  cut: async file => truncate(file, Math.floor((await readFile(file)).length / 2)),
  emptied: file => truncate(file, 0),
  longer: file => writeFile(file, 'more', { flag: 'a' }),
  'a link to another file': async file => {
    await rm(file);
    await symlink('/etc/passwd', file);
  },
  'a directory': async file => {
    await rm(file);
    await mkdir(join(file, 'more'), { recursive: true });
  },
  'without permissions': file => chmod(file, 0),
  gone: file => rm(file, { force: true }),
};

const objects = (cache: ServedCache) => filesBelow(join(cache.directory, 'objects'));

const nameOf = (path: string): string => /[0-9a-f]{64}/.exec(path)![0];

const fileOf = (cache: ServedCache, path: string): string =>
  join(cache.directory, 'objects', nameOf(path).slice(0, 2), nameOf(path));

const present = (names: CacheRelease['names']) => [...names].filter(([, body]) => body !== undefined);

/** What its log complains of. */
const named = (cache: ServedCache) => cache.log().filter(({ level }) => level >= 40);

test('kept files damaged in every way, while the cache runs and while it is stopped: never served, named, healed', async t => {
  const store = await startStoreDaemon(t, release.lab.publicDirectory);
  const directory = await temporaryDirectory(t);
  // Memory for none of the objects that are damaged: they are served from disk.
  const options = { upstreams: [store.url], directory, config: { memoryBytes: '1MiB' } };
  let cache = await startCacheDaemon(t, options);
  const damages = Object.entries(DAMAGES);
  const damagedBy = new Map<string, string>();
  for (const [what] of damages) damagedBy.set((await release.addCold(700_000))[0], what);
  const names = [
    ...present(release.names),
    ...[...damagedBy.keys()].map(path => [path, release.files.get(path)] as const),
  ] as [string, Buffer][];
  await assertServes(cache.url, names, 'at first');
  await assertServes(cache.url, names, 'from disk');
  for (const running of [true, false]) {
    if (!running) await cache.daemon.stop();
    for (const [path, what] of damagedBy) await DAMAGES[what]!(fileOf(cache, path));
    if (!running) {
      for (const [index, file] of (await filesBelow(join(directory, 'answers'))).entries())
        await damages[index % damages.length]![1](file);
      cache = await startCacheDaemon(t, options);
    }
    await assertServes(cache.url, names, running ? 'running' : 'stopped');
    for (const [path, what] of damagedBy) {
      // What is open is served though it is gone, and root reads what it has no permission for.
      if (what === 'gone' || what === 'without permissions') continue;
      // What was open when it was replaced is read to its end first.
      await waitUntil(
        `healed: ${what}`,
        async () => {
          await assertServes(cache.url, [[path, release.files.get(path)]], what);
          return sha256(await readFile(fileOf(cache, path))) === nameOf(path);
        },
        { everyMilliseconds: 1100 },
      );
      assert.ok(
        named(cache).some(line => JSON.stringify(line).includes(nameOf(path))),
        `${what}, ${running ? 'running' : 'stopped'}: named in the log`,
      );
    }
  }
});

test('verify finds what is damaged, running or not, names it and removes it', async t => {
  const store = await startStoreDaemon(t, release.lab.publicDirectory);
  const directory = await temporaryDirectory(t);
  const cache = await startCacheDaemon(t, { upstreams: [store.url], directory });
  await assertServes(cache.url, present(release.names), 'at first');
  await waitUntil('all is on disk', async () => (await objects(cache)).length >= 6);
  for (const [running, path] of [
    [true, release.pilot],
    [false, release.runtime],
  ] as const) {
    if (!running) await cache.daemon.stop();
    await DAMAGES.flipped!(fileOf(cache, path));
    const failed = await runPilotage('cache', 'verify', '--dir', directory, '--json').then(
      () => assert.fail('damage was not found'),
      (error: { code: number; stdout: string; stderr: string }) => error,
    );
    assert.equal(failed.code, 1, failed.stderr);
    assert.ok(`${failed.stdout}${failed.stderr}`.includes(nameOf(path)), failed.stdout + failed.stderr);
    assert.ok(!(await objects(cache)).includes(fileOf(cache, path)));
    if (running) await assertServes(cache.url, [[path, release.files.get(path)]], 'verified');
  }
  await runPilotage('cache', 'verify', '--dir', directory);
});

test('without the origin, what is damaged is refused, not served', async t => {
  const store = await startStoreDaemon(t, release.lab.publicDirectory);
  const directory = await temporaryDirectory(t);
  let cache = await startCacheDaemon(t, { upstreams: [store.url], directory });
  await assertServes(cache.url, present(release.names), 'at first');
  await cache.kill('all');
  await store.daemon.kill();
  const files = [...(await objects(cache)), ...(await filesBelow(join(directory, 'answers')))];
  for (const file of files) await DAMAGES.flipped!(file);
  cache = await startCacheDaemon(t, { upstreams: [store.url], directory });
  const asked = await askEach(cache.url, present(release.names));
  assert.deepEqual([asked.wrong, asked.wrongBegun, asked.cut], [[], [], []]);
  assert.equal(asked.refused.length, present(release.names).length);
  for (const text of asked.refused) assert.match(text, new RegExp(`502 E_UPSTREAM_FAILED: .*${store.url}`));
});

/** A file system of so many MiB. */
async function smallDisk(t: TestContext, mebibytes: number): Promise<string> {
  // Removed with its parent, when nothing is mounted there any more.
  const place = join(home.path, 'disk');
  await mkdir(place);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', place]);
  t.after(() => execFileSync('umount', ['--lazy', place]));
  return place;
}

const notRoot = process.getuid!() === 0 ? false : 'a small file system can only be mounted by root';

test(
  'disk full: no client notices, it is said, and when there is room again objects are kept again',
  { skip: notRoot },
  async t => {
    const store: Served = await startStoreDaemon(t, release.lab.publicDirectory);
    const disk = await smallDisk(t, 32);
    const cache = await startCacheDaemon(t, {
      upstreams: [store.url],
      directory: join(disk, 'cache'),
      config: { memoryBytes: '24MiB' },
    });
    const load = startLoad(t, { urls: [cache.url], names: release.names, clients: 24 });
    await eachServed(load);
    assert.doesNotMatch(await cache.metrics(), /^pilotage_cache_disk_degraded 1$/m);
    const { bavail, bsize } = await statfs(disk);
    await writeFile(join(disk, 'filler'), Buffer.alloc(bavail * bsize));
    // The first is larger than all that could be removed for it.
    for (const bytes of [14_000_000, 1_000_000, 100_000]) {
      const [path, body] = await release.addCold(bytes);
      load.names.set(path, body);
    }
    await eachServed(load);
    await waitUntil('metrics say so', async () =>
      /^pilotage_cache_disk_degraded 1$/m.test(await cache.metrics()),
    );
    assert.ok(named(cache).some(line => JSON.stringify(line).includes('ENOSPC')));
    await rm(join(disk, 'filler'));
    const keptBefore = (await objects(cache)).length;
    await waitUntil(
      'objects are kept again',
      async () => {
        const [path, body] = await release.addCold(50_000);
        load.names.set(path, body);
        await eachServed(load);
        return (
          (await objects(cache)).length > keptBefore &&
          !/^pilotage_cache_disk_degraded 1$/m.test(await cache.metrics())
        );
      },
      { seconds: 30, everyMilliseconds: 1000 },
    );
    await load.stop();
    assertNothingWrong(load);
    assert.deepEqual([...load.refused, ...load.cut], []);
  },
);
