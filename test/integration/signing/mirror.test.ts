import assert from 'node:assert/strict';
import { cp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { serveStore } from '../../../codecache/origin/serve-store.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import { places } from '../../../signing/release/layout.ts';
import { openUrl } from '../../../signing/release/metadata/read-url.ts';
import { exportTree } from '../../../signing/release/mirror/export.ts';
import { publicSource, storageSource } from '../../../signing/release/mirror/public-source.ts';
import { syncMirror } from '../../../signing/release/mirror/sync-mirror.ts';
import { refresh } from '../../../signing/release/repository/publish.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { openStorage } from '../../../signing/release/storage/open-storage.ts';
import type { Storage } from '../../../signing/release/storage/storage.ts';
import { startDaemon } from '../../lab/daemon.ts';
import { releaseCommand } from '../../lab/release-command.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../lab/release-repository.ts';
import { makeTemporaryDirectory, temporaryDirectory } from '../../lab/temporary.ts';
import { startNginx } from '../../lab/nginx.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { testStorage } from '../../lab/storages.ts';
import { get, upstream } from '../codecache/web.ts';
import { runWrapper } from '../codecache/wrapper-box.ts';

let directory: string;
let remove: () => Promise<void>;
let lab: ReleaseRepositoryLab;
before(async () => {
  ({ path: directory, remove } = await makeTemporaryDirectory('mirror'));
  lab = await makeReleaseRepository({ directory });
});
after(() => remove());

const sync = (to: Storage, ...sources: string[]) =>
  syncMirror({ sources: sources.map(publicSource), to, trustedRoot: lab.rootJson, clock: systemClock });

async function served(t: TestContext, publicDirectory: string): Promise<string> {
  const store = await serveStore({ directory: publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  t.after(() => store.close());
  return store.url;
}

/** What a node that knows nothing gets from there. */
async function versionAt(t: TestContext, url: string): Promise<string> {
  const { release } = await fetchRelease({
    trustedRoot: lab.rootJson,
    storeDirectory: join(await temporaryDirectory(t), 'store'),
    caches: [url],
    queue: 'Q1',
    arch: lab.arch,
    patienceSeconds: 0,
  });
  return release.version;
}

/** Every file below a directory, by path. */
async function tree(root: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path.slice(root.length + 1), await readFile(path, 'base64'));
  }
  return files;
}

let copies = 0;
/** A copy of the public tree, to alter. */
async function alteredTree(): Promise<string> {
  const copy = join(directory, `altered-${(copies += 1)}`);
  await cp(lab.publicDirectory, copy, { recursive: true });
  return copy;
}

test('no export goes over a repository, its own or another', async () => {
  const before = [...(await tree(lab.directory)).keys()];
  await assert.rejects(exportTree({ ...lab.context, directory: lab.directory }), { code: 'E_USAGE' });
  assert.deepEqual([...(await tree(lab.directory)).keys()], before);
});

test('an export is the public tree, follows each publish by what is new, and serves nodes', async t => {
  const target = join(directory, 'www');
  const first = await exportTree({ ...lab.context, directory: target });
  assert.equal(first.files.at(-1), 'metadata/timestamp.json');
  assert.deepEqual(
    [...(await tree(target)).keys()].filter(path => !/^(metadata|targets)\/|^log\.jsonl$/.test(path)),
    [],
  );
  const url = await served(t, target);
  assert.equal(await versionAt(t, url), '1.0.0');
  assert.equal((await exportTree({ ...lab.context, directory: target })).changed, false);

  await lab.addPilot('1.1.0');
  await lab.promote({ version: '1.1.0', channel: 'stable' });
  await lab.resign('root');
  await lab.publish();
  const second = await exportTree({ ...lab.context, directory: target });
  const kinds = second.files.map(path => path.replace(/.*\//, '').replace(/^[0-9a-f]{64}/, 'HASH'));
  assert.deepEqual(kinds, [
    'HASH.pilot-1.1.0.tar.gz',
    'HASH.stable.json',
    '3.stable.json',
    '4.releases.json',
    '3.snapshot.json',
    'log.jsonl',
    'timestamp.json',
    '2.root.json',
  ]);
  assert.equal(await versionAt(t, url), '1.1.0');
  const [here, there] = [await tree(lab.publicDirectory), await tree(target)];
  for (const [path, bytes] of there) assert.equal(bytes, here.get(path), path);
});

test('nginx with our configuration serves an export to nodes, with the freshness of our own store', async t => {
  const target = join(await temporaryDirectory(t), 'www');
  await exportTree({ ...lab.context, directory: target });
  const nginx = await startNginx(t, target);
  const ours = await served(t, target);
  const version = await versionAt(t, ours);
  assert.equal(await versionAt(t, nginx), version);
  const { result } = await runWrapper({
    directory: await temporaryDirectory(t),
    store: 'store',
    rootJson: lab.rootJson,
    caches: [nginx],
  });
  assert.equal(result.code, 'ok');
  const names = [...(await tree(target)).keys()].sort();
  const large = names.find(name => name.includes('.node-'))!;
  const asked = [
    ...names,
    'metadata/99.root.json',
    'metadata/99.stable.json',
    'targets/nothing',
    'targets',
    '',
  ];
  const halfADay = (value: unknown) =>
    String(value).replace(/stale-if-error=8[56]\d{3}/, 'stale-if-error=43200');
  for (const path of asked) {
    const [theirs, own] = [await get(`${nginx}/${path}`), await get(`${ours}/${path}`)];
    assert.equal(theirs.status, own.status, path);
    assert.equal(theirs.headers['cache-control'], halfADay(own.headers['cache-control']), path);
    if (own.status === 200) {
      assert.ok(theirs.body.equals(own.body), path);
      assert.equal(theirs.headers['content-encoding'], undefined);
    }
  }
  const { headers } = await get(`${nginx}/${large}`);
  const again = await get(`${nginx}/${large}`, { headers: { 'if-none-match': headers.etag! } });
  assert.deepEqual([again.status, again.headers['cache-control']], [304, headers['cache-control']]);
  const part = await get(`${nginx}/${large}`, { headers: { range: 'bytes=2-5' } });
  assert.deepEqual([part.status, part.body.length], [206, 4]);
  assert.equal((await get(`${nginx}/${large}`, { method: 'PUT' })).status, 403);
});

test('an export cut short at any step leaves nodes what they had, and the next one completes it', async t => {
  const old = join(directory, 'old');
  await exportTree({ ...lab.context, directory: old });
  await lab.addPilot('1.1.1');
  await lab.promote({ version: '1.1.1', channel: 'stable' });
  await lab.publish();
  const steps: string[] = [];
  const context = (onStep: (step: string) => void) => ({ ...lab.context, onStep });
  const rehearsal = join(directory, 'rehearsal');
  await cp(old, rehearsal, { recursive: true });
  await exportTree({ ...context(step => steps.push(step)), directory: rehearsal });
  assert.ok(steps.length >= 7, steps.join());
  for (let stop = 0; stop < steps.length; stop += 1) {
    const target = join(directory, `cut-${stop}`);
    await cp(old, target, { recursive: true });
    let seen = -1;
    const cut = context(() => {
      if ((seen += 1) === stop) throw new Error('cut');
    });
    await assert.rejects(exportTree({ ...cut, directory: target }), /cut/);
    const url = await served(t, target);
    assert.equal(await versionAt(t, url), '1.1.0', `cut at ${steps[stop]}`);
    await exportTree({ ...lab.context, directory: target });
    assert.equal(await versionAt(t, url), '1.1.1', `after ${steps[stop]}`);
  }
});

for (const backEnd of ['file tree', 'sqlite', 'postgres'] as const) {
  test(`a mirror in ${backEnd} follows its origin, roots and log with it`, async t => {
    const { open } = await testStorage(backEnd, t);
    const mirror = await open();
    const origin = await served(t, lab.publicDirectory);
    assert.equal((await sync(mirror, origin)).changed, true);
    assert.equal((await sync(mirror, origin)).changed, false);
    await lab.refresh();
    assert.deepEqual((await sync(mirror, origin)).files, ['log.jsonl', 'metadata/timestamp.json']);
    await lab.resign('root');
    await lab.publish();
    const { files, root } = await sync(mirror, origin);
    assert.ok(files.includes(`metadata/${root}.root.json`));
    for (const path of await mirror.listAll(places.public)) {
      const bytes = (await mirror.read(path, 8 << 20))!;
      const there = await readFile(join(lab.directory, path));
      // Of the log, what the timestamp vouches for.
      assert.ok(bytes.equals(path === places.log ? there.subarray(0, bytes.length) : there), path);
    }
    // The chain from the first root on, whatever was pinned.
    assert.ok(await mirror.read(`${places.metadata}/1.root.json`, 1 << 20));
    const again = await exportOf(t, mirror);
    assert.match(await versionAt(t, await served(t, again)), /^1\.1/);
  });
}

/** A mirror of a mirror is as good. */
async function exportOf(t: TestContext, mirror: Storage): Promise<string> {
  const place = await temporaryDirectory(t);
  await syncMirror({
    sources: [storageSource(mirror)],
    to: fileStorage(place),
    trustedRoot: lab.rootJson,
    clock: systemClock,
  });
  return join(place, 'public');
}

test('a source that lies, lags or lacks something is refused by name, and the mirror stays as it was', async t => {
  const place = await temporaryDirectory(t);
  const mirror = fileStorage(place);
  await sync(mirror, lab.publicDirectory);
  const stale = await alteredTree();
  await lab.addPilot('1.2.0');
  await lab.promote({ version: '1.2.0', channel: 'stable' });
  await lab.publish();
  const before = await tree(join(place, 'public'));
  const newest = (await readdir(join(lab.publicDirectory, 'metadata'))).filter(name =>
    /\.(releases|stable|snapshot)\.json$/.test(name),
  );
  const last = (role: string) =>
    newest.filter(name => name.endsWith(`.${role}.json`)).sort((a, b) => parseInt(b) - parseInt(a))[0]!;
  const pilot = [...(await tree(lab.publicDirectory)).keys()].find(path => path.includes('pilot-1.2.0'))!;
  const cases: [string, (source: string) => Promise<void>, string][] = [
    ['no pilot', source => rm(join(source, pilot)), 'E_FILE_MISSING'],
    ['a changed pilot', source => flip(join(source, pilot)), 'E_TARGET_HASH'],
    ['a longer pilot', source => append(join(source, pilot)), 'E_TARGET_LENGTH'],
    ['no snapshot', source => rm(join(source, 'metadata', last('snapshot'))), 'E_FILE_MISSING'],
    ['a changed role', source => append(join(source, 'metadata', last('stable'))), 'E_TUF_HASH'],
    ['a changed timestamp', source => forge(join(source, 'metadata/timestamp.json')), 'E_TUF_SIGNATURE'],
    ['a log with a line changed', source => forge(join(source, 'log.jsonl')), 'E_LOG_TAMPERED'],
    ['a log cut off', source => writeFile(join(source, 'log.jsonl'), ''), 'E_LOG_TAMPERED'],
  ];
  for (const [name, alter, code] of cases) {
    const source = await alteredTree();
    await alter(source);
    await assert.rejects(sync(mirror, source), (error: { code?: string; refusals?: { cache: string }[] }) => {
      assert.equal(error.code, code, name);
      assert.equal(error.refusals?.[0]?.cache, source);
      return true;
    });
    for (const [path, bytes] of before) {
      assert.equal((await tree(join(place, 'public'))).get(path), bytes, `${name}: ${path}`);
    }
  }
  // One that is right after all those: what the mirror had taken from them is no harm.
  const liar = await alteredTree();
  await forge(join(liar, 'metadata/timestamp.json'));
  const { refusals, changed } = await sync(mirror, liar, lab.publicDirectory);
  assert.deepEqual([changed, refusals.map(({ code }) => code)], [true, ['E_TUF_SIGNATURE']]);
  await assert.rejects(sync(mirror, stale), { code: 'E_TUF_STALE' });
  const other = await makeReleaseRepository({ directory: join(directory, 'other') });
  await assert.rejects(sync(fileStorage(join(directory, 'fresh')), other.publicDirectory), {
    code: 'E_TUF_SIGNATURE',
  });
  const late = { ...systemClock, now: () => Date.now() + 25 * 3_600_000 };
  await assert.rejects(
    syncMirror({
      sources: [publicSource(lab.publicDirectory)],
      to: fileStorage(join(directory, 'late')),
      trustedRoot: lab.rootJson,
      clock: late,
    }),
    { code: 'E_TUF_EXPIRED' },
  );
});

test('a source that never ends a file is left when it has given more than was signed', async t => {
  const honest = publicSource(lab.publicDirectory);
  let given = 0;
  const endless = {
    ...honest,
    open: async (path: string) =>
      path.includes('/pilot/')
        ? (async function* () {
            for (; given < 64 << 20; given += 1 << 16) yield Buffer.alloc(1 << 16);
          })()
        : honest.open(path),
  };
  const to = fileStorage(await temporaryDirectory(t));
  const mirror = { sources: [endless], to, trustedRoot: lab.rootJson, clock: systemClock };
  await assert.rejects(syncMirror(mirror), { code: 'E_TARGET_LENGTH' });
  assert.ok(given < 1 << 20);
});

test('a source that only drips is left, so that the next one is asked', async t => {
  const dripping = await upstream(t, (request, response) => {
    if (request.url === '/moved') response.writeHead(302, { location: '/log.jsonl' }).end();
    else if (request.url === '/drip') response.writeHead(200).write('drop');
    else response.writeHead(200).end(Buffer.alloc(1 << 16));
  });
  const minutes = () => {
    let now = 0;
    return { monotonic: () => (now += 31_000) };
  };
  const bytes = async (path: string) => {
    const parts = await Array.fromAsync((await openUrl(dripping.url, path, minutes()))!);
    return Buffer.concat(parts).length;
  };
  assert.equal(await bytes('flows'), 1 << 16);
  await assert.rejects(bytes('drip'), { code: 'E_TIMEOUT', where: `${dripping.url}/drip` });
  await assert.rejects(bytes('moved'), { code: 'E_UNREACHABLE' });
  assert.equal(dripping.count('log.jsonl'), 0, 'no redirect is followed');
});

test('what holds a copy of another repository is not written over, and is named', async t => {
  const other = await makeReleaseRepository({ directory: await temporaryDirectory(t) });
  const before = await tree(other.publicDirectory);
  const where = join(other.publicDirectory, 'metadata/1.root.json');
  const directory = other.publicDirectory;
  await assert.rejects(exportTree({ ...lab.context, directory }), { code: 'E_TUF_SIGNATURE', where });
  await assert.rejects(sync(other.context.storage, lab.publicDirectory), { code: 'E_TUF_SIGNATURE', where });
  assert.deepEqual(await tree(directory), before);
});

test('of two sources that are signed alike and tell different histories, only one is followed', async t => {
  const fork = await temporaryDirectory(t);
  await cp(lab.directory, fork, { recursive: true });
  const mirror = fileStorage(await temporaryDirectory(t));
  await lab.refresh();
  await sync(mirror, lab.publicDirectory);
  const stolen = { ...lab.context, storage: fileStorage(fork), actor: 'thief' };
  await refresh(stolen);
  await refresh(stolen);
  const before = await mirror.read(places.log, 8 << 20);
  await assert.rejects(sync(mirror, join(fork, 'public')), { code: 'E_LOG_TAMPERED' });
  assert.deepEqual(await mirror.read(places.log, 8 << 20), before);
});

async function flip(file: string): Promise<void> {
  const bytes = await readFile(file);
  bytes[20]! ^= 1;
  await writeFile(file, bytes);
}
const append = async (file: string) =>
  writeFile(file, Buffer.concat([await readFile(file), Buffer.from(' ')]));
const forge = async (file: string) =>
  writeFile(
    file,
    (await readFile(file, 'utf8')).replace(/"version":(\d+)/, (_, n) => `"version":${Number(n) + 1}`),
  );

test('the commands: export, mirror sync once, refusals as JSON', async t => {
  const place = await temporaryDirectory(t);
  const run = await releaseCommand(place);
  const rootFile = join(lab.publicDirectory, 'metadata/1.root.json');
  const exported = await run(['export', join(place, 'www'), '--repo', lab.directory, '--json']);
  assert.equal(exported.code, 0, exported.stderr);
  assert.equal((JSON.parse(exported.stdout) as { changed: boolean }).changed, true);
  const mirrored = await run(
    `mirror sync --from ${place}/www --to sqlite:${place}/mirror.db --root ${rootFile}`.split(' '),
  );
  assert.equal(mirrored.code, 0, mirrored.stderr);
  assert.match(mirrored.stdout, /^Copied up to timestamp/);
  const refused = await run(
    `mirror sync --from ${place}/nothing --to ${place}/m --root ${rootFile} --json`.split(' '),
  );
  assert.equal(refused.code, 2);
  assert.equal((JSON.parse(refused.stderr) as { code: string }).code, 'E_FILE_MISSING');
});

test('the command that goes on outlives rounds that fail, follows what comes, and ends on SIGTERM', async t => {
  const place = await temporaryDirectory(t);
  const [source, mirror] = [join(place, 'source'), `sqlite:${place}/mirror.db`];
  const show = async () => {
    const copy = await alteredTree();
    await rename(copy, source);
    return readFile(join(source, 'metadata/timestamp.json'));
  };
  const rootFile = join(lab.publicDirectory, 'metadata/1.root.json');
  const daemon = await startDaemon({
    name: 'mirror',
    command: process.execPath,
    args: [
      fileURLToPath(new URL('../../../pilotage.ts', import.meta.url)),
      ...`release mirror sync --from ${source} --to ${mirror} --root ${rootFile}`.split(' '),
      ...'--interval-seconds 1'.split(' '),
    ],
    ready: ({ stdout }) => stdout().includes('"ready":true'),
  });
  t.after(() => daemon.stop());
  const failures = () => daemon.stderr().split('could not be brought up to date').length - 1;
  const follows = (bytes: Buffer) =>
    waitUntil('the mirror has it', async () => {
      const storage = await openStorage(mirror, 'read');
      try {
        return (await storage.read(`${places.metadata}/timestamp.json`, 1 << 20))?.equals(bytes);
      } finally {
        await storage.close();
      }
    });
  await waitUntil('a round has failed', () => failures() > 0);
  await follows(await show());
  await rm(source, { recursive: true });
  const before = failures();
  await waitUntil('another one has failed', () => failures() > before);
  await lab.refresh();
  await follows(await show());
  process.kill(daemon.pid, 'SIGTERM');
  assert.deepEqual(await daemon.exited, { code: 0, signal: null }, daemon.stderr());
});
