import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '../../../lib/clock.ts';
import { ReleaseConfig } from '../../../signing/config/schema.ts';
import { addRelease } from '../../../signing/release/builds/add-release.ts';
import { initRepository } from '../../../signing/release/repository/init-repository.ts';
import { places } from '../../../signing/release/layout.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { publish, refresh } from '../../../signing/release/repository/publish.ts';
import { readPublicDirectory } from '../../../signing/release/metadata/read-public.ts';
import type { ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { withRepositoryLock } from '../../../signing/release/repository/repository-lock.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import { releaseLog, verifyRepository } from '../../../signing/release/repository/verify-repository.ts';
import {
  makePilotTarball,
  makeReleaseRepository,
  type ReleaseRepositoryLab,
} from '../../lab/release-repository.ts';

let directory: string;
let lab: ReleaseRepositoryLab;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-publish-'));
  lab = await makeReleaseRepository({ directory });
});
after(() => rm(directory, { recursive: true, force: true }));

let copies = 0;
/** A copy of the lab's repository to break. */
async function copyOf(source = lab.directory): Promise<ReleaseContext> {
  const copy = join(directory, `copy-${(copies += 1)}`);
  await cp(source, copy, { recursive: true });
  return { ...lab.context, storage: fileStorage(copy) };
}

const crash = new Error('killed here');
const stopAt = (wanted: number, seen: string[] = []) => ({
  onStep: (step: string) => {
    seen.push(step);
    if (seen.length === wanted) throw crash;
  },
});

/** What a client of this moment sees. */
async function seen(context: ReleaseContext) {
  const publicDirectory = context.storage.where(places.public);
  const bytes = await readPublicDirectory(publicDirectory, lab.rootJson);
  return verifyMetadata(bytes, { nowMs: Date.now(), where: publicDirectory });
}

/** Every public file by name; a versioned name must keep its bytes for ever. */
async function publicFiles(context: ReleaseContext): Promise<Map<string, string>> {
  const publicDirectory = context.storage.where(places.public);
  const files = new Map<string, string>();
  for (const entry of await readdir(publicDirectory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files.set(path, await readFile(path, 'base64'));
  }
  return files;
}

test('a crash at any step of add, promote and publish leaves what clients saw before, and the next run completes it', async () => {
  const tarball = await makePilotTarball({ directory, version: '1.1.0' });
  const release = async (context: ReleaseContext, seenSteps?: string[]) => {
    const counted = seenSteps ? { ...context, ...stopAt(0, seenSteps) } : context;
    await addRelease({ ...counted, tarball });
    await promote({ ...counted, version: '1.1.0', channel: 'stable' });
    await publish(counted);
  };
  const steps: string[] = [];
  await release(await copyOf(), steps);
  assert.ok(steps.length >= 12, steps.join(', '));
  const order = [
    'write 4.releases.json',
    'write 3.stable.json',
    'write 3.snapshot.json',
    'write timestamp.json',
  ];
  assert.deepEqual(
    steps.filter(step => step.startsWith('write')),
    order,
  );
  assert.ok(steps.indexOf('check pilot/1.1.0/pilot-1.1.0.tar.gz') < steps.indexOf(order[0]!));

  const before = verifyOf(await seen(lab.context));
  for (let stop = 1; stop <= steps.length; stop += 1) {
    const context = await copyOf();
    const filesBefore = await publicFiles(context);
    const counted = { ...context, ...stopAt(stop) };
    await assert.rejects(async () => {
      await addRelease({ ...counted, tarball });
      await promote({ ...counted, version: '1.1.0', channel: 'stable' });
      await publish(counted);
    }, crash);
    const now = verifyOf(await seen(context));
    const visible = steps[stop - 1] === 'clear staged' ? { version: '1.1.0', serial: 2 } : before;
    assert.deepEqual(now, visible, `after a crash at "${steps[stop - 1]}"`);
    await release(context);
    assert.deepEqual(verifyOf(await seen(context)), { version: '1.1.0', serial: 2 });
    const status = await verifyRepository(context);
    assert.deepEqual(status.staged, []);
    const filesAfter = await publicFiles(context);
    for (const [path, bytes] of filesBefore) {
      if (path.endsWith('log.jsonl')) assert.ok(startsWith(filesAfter.get(path), bytes), path);
      else if (!path.endsWith('timestamp.json')) assert.equal(filesAfter.get(path), bytes, path);
    }
  }
});

const startsWith = (base64: string | undefined, before: string): boolean =>
  Buffer.from(base64 ?? '', 'base64')
    .toString()
    .startsWith(Buffer.from(before, 'base64').toString());

const verifyOf = ({ channels }: Awaited<ReturnType<typeof seen>>) => ({
  version: channels.stable?.current.version,
  serial: channels.stable?.serial,
});

test('a crash at any step of init can be followed by another init or a publish', async () => {
  const config = ReleaseConfig.parse({});
  const steps: string[] = [];
  const fresh = (name: string): ReleaseContext => ({
    ...lab.context,
    storage: fileStorage(join(directory, name)),
  });
  await initRepository({ ...fresh('init'), config, ...stopAt(0, steps) });
  for (let stop = 1; stop <= steps.length; stop += 1) {
    const context = fresh(`init-${stop}`);
    await assert.rejects(initRepository({ ...context, config, ...stopAt(stop) }), crash);
    try {
      await initRepository({ ...context, config });
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'E_REPOSITORY_EXISTS', `crash at ${stop}`);
      await publish(context);
    }
    assert.equal((await verifyRepository(context)).roles.root?.version, 1);
  }
});

test('publish again does nothing; refresh moves only the timestamp, and the snapshot when it is due', async () => {
  const context = await copyOf();
  const log = await releaseLog(context);
  assert.deepEqual((await publish(context)).published, false);
  assert.equal((await releaseLog(context)).length, log.length);
  const first = await refresh(context);
  assert.deepEqual(first.files, ['timestamp.json']);
  const later = { ...context, clock: { ...systemClock, now: () => Date.now() + 86_400_000 + 60_000 } };
  const second = await refresh(later);
  assert.deepEqual(second.files, ['3.snapshot.json', 'timestamp.json']);
  assert.equal(second.timestamp, first.timestamp + 1);
});

test('refresh publishes nothing that is only staged', async () => {
  const context = await copyOf();
  await promote({ ...context, version: '1.0.0', channel: 'dev', runtimeVersion: lab.nodeVersion });
  const tarball = await makePilotTarball({ directory, version: '1.2.0' });
  await addRelease({ ...context, tarball });
  await refresh(context);
  assert.equal((await seen(context)).targets.has('pilot/1.2.0/pilot-1.2.0.tar.gz'), false);
  await publish(context);
  assert.equal((await seen(context)).targets.has('pilot/1.2.0/pilot-1.2.0.tar.gz'), true);
});

test('a target that is not as it was signed stops the publish and the verification', async () => {
  const context = await copyOf();
  const tarball = await makePilotTarball({ directory, version: '1.3.0' });
  const { sha256 } = await addRelease({ ...context, tarball });
  const path = context.storage.where(`${places.targets}/pilot/1.3.0/${sha256}.pilot-1.3.0.tar.gz`);
  const bytes = await readFile(path);
  bytes[40]! ^= 1;
  await writeFile(path, bytes);
  await assert.rejects(publish(context), { code: 'E_TARGET_HASH', where: path });
  await writeFile(path, bytes.subarray(1));
  await assert.rejects(publish(context), { code: 'E_TARGET_LENGTH', where: path });
  assert.equal((await seen(context)).floors.timestamp, 2);
});

test('metadata that somebody altered in the repository is not signed again', async () => {
  const context = await copyOf();
  const path = context.storage.where(`${places.metadata}/3.releases.json`);
  await writeFile(path, (await readFile(path, 'utf8')).replace('"commit":"lab"', '"commit":"bad"'));
  const tarball = await makePilotTarball({ directory, version: '1.4.0' });
  await assert.rejects(addRelease({ ...context, tarball }), { code: 'E_TUF_SIGNATURE', where: path });
});

test('a log that was cut, altered, or lacks a staged signature stops everything that signs', async () => {
  const context = await copyOf();
  const logFile = context.storage.where(places.log);
  const log = await readFile(logFile, 'utf8');
  const lines = log.split('\n').slice(0, -1);
  const tarball = await makePilotTarball({ directory, version: '1.5.0' });
  for (const altered of [lines.slice(0, -1), lines.slice(1), [...lines.slice(0, 3), ...lines.slice(4)]]) {
    await writeFile(logFile, altered.join('\n') + '\n');
    await assert.rejects(releaseLog(context), { code: 'E_LOG_TAMPERED', where: logFile });
    await assert.rejects(addRelease({ ...context, tarball }), { code: 'E_LOG_TAMPERED' });
    await assert.rejects(refresh(context), { code: 'E_LOG_TAMPERED' });
  }
  await writeFile(logFile, log);
  await addRelease({ ...context, tarball });
  await writeFile(logFile, log);
  await assert.rejects(releaseLog(context), { code: 'E_LOG_TAMPERED', where: /4\.releases\.json$/ });
});

test('commands that run at once take turns and lose nothing', async () => {
  const context = await copyOf();
  const versions = ['2.0.0', '2.0.1', '2.0.2', '2.0.3'];
  const tarballs = await Promise.all(versions.map(version => makePilotTarball({ directory, version })));
  await Promise.all(tarballs.map(tarball => addRelease({ ...context, tarball })));
  await Promise.all([publish(context), publish(context), refresh(context)]);
  const { targets } = await seen(context);
  for (const version of versions) assert.ok(targets.has(`pilot/${version}/pilot-${version}.tar.gz`), version);
  await verifyRepository(context);
});

test('a repository that stays locked is refused after the wait, naming it', async () => {
  const context = await copyOf();
  const { storage } = context;
  await withRepositoryLock({ storage, clock: systemClock }, () =>
    assert.rejects(publish({ ...context, lockWaitSeconds: 0.2 }), {
      code: 'E_REPOSITORY_LOCKED',
      where: storage.name,
    }),
  );
  await publish(context);
});
