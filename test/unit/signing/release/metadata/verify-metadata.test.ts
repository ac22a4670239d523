import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MetaFile } from '@tufjs/models';
import * as fc from 'fast-check';
import { PilotageError } from '../../../../../lib/errors.ts';
import type { ChannelPointer, Floors } from '../../../../../lib/protocol/release.ts';
import { readPublicDirectory } from '../../../../../signing/release/metadata/read-public.ts';
import {
  metaFile,
  parseMetadata,
  sha256Of,
  signMetadata,
  targetFile,
  type AnySigned,
} from '../../../../../signing/release/metadata/role-metadata.ts';
import {
  verifyMetadata,
  type MetadataBytes,
} from '../../../../../signing/release/metadata/verify-metadata.ts';
import { stableJson } from '../../../../../signing/stable-json.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../../../lab/release-repository.ts';

let directory: string;
let lab: ReleaseRepositoryLab;
let good: MetadataBytes;
let secondRoot: Uint8Array;
const DAY_MS = 86_400_000;
const startMs = Date.parse('2026-11-22T12:00:00Z');

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pilotage-verify-'));
  const clock = { now: () => startMs, monotonic: () => performance.now(), sleep: async () => undefined };
  lab = await makeReleaseRepository({ directory, clock });
  good = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  await lab.resign('root');
  await lab.publish();
  secondRoot = (await readPublicDirectory(lab.publicDirectory)).roots[1]!;
});
after(() => rm(directory, { recursive: true, force: true }));

const verify = (bytes: MetadataBytes, options: { nowMs?: number; floors?: Floors } = {}) =>
  verifyMetadata(bytes, { nowMs: startMs + 1000, where: 'http://cache', ...options });

const refused = (
  bytes: MetadataBytes,
  code: string,
  where: RegExp,
  options: Parameters<typeof verify>[1] = {},
) =>
  assert.throws(
    () => verify(bytes, options),
    (error: unknown) => {
      assert.ok(error instanceof PilotageError, String(error));
      assert.equal(error.code, code);
      assert.match(error.where ?? '', where);
      assert.ok(error.fix);
      return true;
    },
  );

const signersOf = (names: string[]) => Promise.all(names.map(name => lab.keys.signer(name)));

/** The good set with one delegated role (and target) replaced, and snapshot and timestamp signed to match. */
async function withRole(
  role: string,
  change: (
    signed: { -readonly [K in keyof AnySigned]: AnySigned[K] } & { targets: Record<string, unknown> },
  ) => void,
  signedBy: string[],
  files: Record<string, Uint8Array> = {},
): Promise<MetadataBytes> {
  const { signed } = parseMetadata('targets', good.roles[role]!, role);
  change(signed);
  const bytes = await signMetadata(signed, await signersOf(signedBy));
  const snapshot = parseMetadata('snapshot', good.snapshot, 'snapshot').signed;
  snapshot.meta[`${role}.json`] = metaFile(signed.version, bytes);
  const snapshotBytes = await signMetadata(snapshot, await signersOf(['snapshot']));
  const timestamp = parseMetadata('timestamp', good.timestamp, 'timestamp').signed;
  Object.assign(timestamp, { snapshotMeta: metaFile(snapshot.version, snapshotBytes) });
  return {
    ...good,
    roles: { ...good.roles, [role]: bytes },
    files: { ...good.files, ...files },
    snapshot: snapshotBytes,
    timestamp: await signMetadata(timestamp, await signersOf(['timestamp'])),
  };
}

async function withPointer(change: (pointer: ChannelPointer) => void): Promise<MetadataBytes> {
  const path = 'channels/stable.json';
  const pointer = JSON.parse(Buffer.from(good.files![path]!).toString()) as ChannelPointer;
  change(pointer);
  const bytes = stableJson(pointer);
  const target = targetFile({ path, length: bytes.length, sha256: sha256Of(bytes) });
  return withRole('stable', signed => (signed.targets[path] = target), ['manager-1', 'manager-2'], {
    [path]: bytes,
  });
}

test('a good set gives versions, serials, the signed time, pointers, the queue map and every target', () => {
  const verified = verify(good);
  assert.deepEqual(verified.floors, {
    root: 1,
    timestamp: 2,
    snapshot: 2,
    channelSerials: { stable: 1, canary: 1, dev: 1 },
    signedTimeMs: startMs,
  });
  assert.equal(verified.channels.stable?.current.version, '1.0.0');
  assert.equal(verified.queues?.default, 'stable');
  assert.equal(verified.targets.size, 6);
  assert.equal(verified.expiresMs.timestamp, startMs + DAY_MS);
  assert.deepEqual(verify(good, { floors: verified.floors }).floors, verified.floors);
});

test('a byte changed anywhere in any file is refused', () => {
  const named: [string, Uint8Array, (bytes: Uint8Array) => MetadataBytes][] = [
    ['timestamp', good.timestamp, timestamp => ({ ...good, timestamp })],
    ['snapshot', good.snapshot, snapshot => ({ ...good, snapshot })],
    ['targets', good.targets, targets => ({ ...good, targets })],
    ...Object.entries(good.roles).map(([role, bytes]): (typeof named)[number] => [
      role,
      bytes,
      changed => ({ ...good, roles: { ...good.roles, [role]: changed } }),
    ]),
    ...Object.entries(good.files!).map(([path, bytes]): (typeof named)[number] => [
      path,
      bytes,
      changed => ({ ...good, files: { ...good.files, [path]: changed } }),
    ]),
    ['second root', secondRoot, bytes => ({ ...good, roots: [lab.rootJson, bytes] })],
  ];
  for (const [name, bytes, put] of named) {
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = Buffer.from(bytes);
        changed[at]! ^= mask;
        assert.throws(
          () => verify(put(changed)),
          (error: unknown) => error instanceof PilotageError && /^E_(TUF|TARGET)_/.test(error.code),
          `${name} byte ${at}`,
        );
      }),
      { numRuns: 40 },
    );
  }
});

test('a role signed by too few, by the wrong people, or twice by one person is refused', async () => {
  const same = () => undefined;
  refused(
    await withRole('stable', same, ['manager-1']),
    'E_TUF_SIGNATURE',
    /cache\/metadata\/2\.stable\.json/,
  );
  refused(await withRole('stable', same, ['manager-1', 'builder']), 'E_TUF_SIGNATURE', /stable/);
  refused(await withRole('stable', same, ['manager-1', 'manager-1']), 'E_TUF_FORMAT', /stable/);
  refused(await withRole('releases', same, ['targets-1', 'targets-2']), 'E_TUF_SIGNATURE', /releases/);
  verify(await withRole('stable', same, ['manager-2', 'manager-3']));
});

test('a snapshot that another role signed is refused', async () => {
  const snapshot = parseMetadata('snapshot', good.snapshot, 'snapshot').signed;
  const snapshotBytes = await signMetadata(snapshot, await signersOf(['timestamp']));
  const timestamp = parseMetadata('timestamp', good.timestamp, 'timestamp').signed;
  Object.assign(timestamp, { snapshotMeta: metaFile(snapshot.version, snapshotBytes) });
  const timestampBytes = await signMetadata(timestamp, await signersOf(['timestamp']));
  const set = { ...good, snapshot: snapshotBytes, timestamp: timestampBytes };
  refused(set, 'E_TUF_SIGNATURE', /2\.snapshot\.json/);
});

test('an expired role is named; the trusted first root may be expired, the last one not', async () => {
  refused(good, 'E_TUF_EXPIRED', /timestamp\.json/, { nowMs: startMs + DAY_MS });
  const old = await withRole('canary', signed => Object.assign(signed, { expires: '2026-11-22T12:00:00Z' }), [
    'manager-1',
  ]);
  refused(old, 'E_TUF_EXPIRED', /canary/);
  refused(good, 'E_TUF_EXPIRED', /1\.root\.json/, { nowMs: startMs + 366 * DAY_MS });
  const root = parseMetadata('root', lab.rootJson, 'root').signed;
  Object.assign(root, { expires: '2020-01-01T00:00:00Z' });
  const expiredRoot = await signMetadata(root, await signersOf(['root-1', 'root-3']));
  refused({ ...good, roots: [expiredRoot] }, 'E_TUF_EXPIRED', /root/);
  assert.equal(verify({ ...good, roots: [expiredRoot, secondRoot] }).floors.root, 2);
});

test('a root chain that skips a version, repeats one, or lacks the old keys is refused', async () => {
  const third = parseMetadata('root', secondRoot, 'root').signed;
  Object.assign(third, { version: 3 });
  const thirdBytes = await signMetadata(third, await signersOf(['root-1', 'root-2']));
  refused({ ...good, roots: [lab.rootJson, thirdBytes] }, 'E_TUF_ROLLBACK', /2\.root\.json/);
  refused({ ...good, roots: [lab.rootJson, lab.rootJson] }, 'E_TUF_ROLLBACK', /root/);
  const alone = await signMetadata(
    parseMetadata('root', secondRoot, 'root').signed,
    await signersOf(['root-1']),
  );
  refused({ ...good, roots: [lab.rootJson, alone] }, 'E_TUF_SIGNATURE', /2\.root\.json/);
  refused({ ...good, roots: [] }, 'E_TUF_FORMAT', /root/);
  assert.equal(verify({ ...good, roots: [lab.rootJson, secondRoot, thirdBytes] }).floors.root, 3);
});

test('a next root that only its own new keys signed is refused', async () => {
  const root = parseMetadata('root', secondRoot, 'root').signed;
  root.roles.root = root.roles.targets!;
  const taken = await signMetadata(root, await signersOf(['targets-1', 'targets-2']));
  refused({ ...good, roots: [lab.rootJson, taken] }, 'E_TUF_SIGNATURE', /2\.root\.json/);
  const handed = await signMetadata(root, await signersOf(['root-1', 'root-2']));
  refused({ ...good, roots: [lab.rootJson, handed] }, 'E_TUF_SIGNATURE', /2\.root\.json/);
  const both = await signMetadata(root, await signersOf(['root-1', 'root-2', 'targets-1', 'targets-2']));
  assert.equal(verify({ ...good, roots: [lab.rootJson, both] }).floors.root, 2);
});

test('a signature has one spelling: upper-case hex or something after it is refused', () => {
  const text = Buffer.from(good.timestamp).toString();
  const respelt = (change: (sig: string) => string) =>
    Buffer.from(text.replace(/"sig":"([0-9a-f]+)"/, (_, sig: string) => `"sig":"${change(sig)}"`));
  refused({ ...good, timestamp: respelt(sig => sig.toUpperCase()) }, 'E_TUF_FORMAT', /timestamp/);
  refused({ ...good, timestamp: respelt(sig => `${sig}zz`) }, 'E_TUF_FORMAT', /timestamp/);
  verify({ ...good, timestamp: respelt(sig => sig) });
});

test('anything below the floors is refused with its own code', () => {
  const { floors } = verify(good);
  refused(good, 'E_TUF_STALE', /timestamp/, { floors: { ...floors, timestamp: 3 } });
  refused(good, 'E_TUF_STALE', /snapshot/, { floors: { ...floors, snapshot: 3 } });
  refused(good, 'E_TUF_STALE', /root/, { floors: { ...floors, root: 2 } });
  refused(good, 'E_CHANNEL_FLOOR', /stable/, { floors: { ...floors, channelSerials: { stable: 2 } } });
  refused(good, 'E_CLOCK', /timestamp/, { floors: { ...floors, signedTimeMs: startMs + 3_600_000 } });
  refused(good, 'E_CLOCK', /timestamp/, { nowMs: startMs - 3_600_000 });
});

test('files that do not belong together are refused', async () => {
  const later = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  await lab.addPilot('1.0.1');
  await lab.publish();
  const newest = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  refused({ ...newest, roles: later.roles }, 'E_TUF_HASH', /3\.snapshot|4\.releases/);
  refused({ ...newest, snapshot: later.snapshot }, 'E_TUF_HASH', /3\.snapshot/);
  const snapshot = parseMetadata('snapshot', good.snapshot, 'snapshot').signed;
  snapshot.meta['stable.json'] = new MetaFile({
    version: 7,
    length: good.roles.stable!.length,
    hashes: { sha256: sha256Of(good.roles.stable!) },
  });
  const snapshotBytes = await signMetadata(snapshot, await signersOf(['snapshot']));
  const timestamp = parseMetadata('timestamp', good.timestamp, 'timestamp').signed;
  Object.assign(timestamp, { snapshotMeta: metaFile(snapshot.version, snapshotBytes) });
  const timestampBytes = await signMetadata(timestamp, await signersOf(['timestamp']));
  refused({ ...good, snapshot: snapshotBytes, timestamp: timestampBytes }, 'E_TUF_ROLLBACK', /7\.stable/);
});

test('a pointer that names what releases did not sign, or another channel, is refused', async () => {
  refused(
    await withPointer(p => (p.current.pilot.sha256 = 'f'.repeat(64))),
    'E_CHANNEL_MISMATCH',
    /channels\/stable/,
  );
  refused(
    await withPointer(p => (p.current.runtimes['linux-x64']!.sha256 = 'f'.repeat(64))),
    'E_CHANNEL_MISMATCH',
    /stable/,
  );
  refused(await withPointer(p => (p.current.pilot.path = 'pilot/2/x')), 'E_TARGET_UNKNOWN', /stable/);
  const unsigned = { version: '0.9.0', path: 'pilot/0.9.0/x', sha256: 'f'.repeat(64) };
  const previous = { version: '0.9.0', pilot: unsigned, runtimes: {} };
  refused(await withPointer(p => (p.previous = previous)), 'E_TARGET_UNKNOWN', /stable/);
  refused(await withPointer(p => (p.channel = 'canary')), 'E_CHANNEL_MISMATCH', /stable/);
  refused(await withPointer(p => (p.schema = 2 as never)), 'E_TUF_FORMAT', /stable/);
  verify(await withPointer(p => (p.serial = 9)));
});

test('a pointer to a withdrawn release is valid, its builds signed or not: so it is that a revocation arrives', async () => {
  const withdrawn = await withPointer(p => {
    p.yanked.push('1.0.0');
    p.kill.push('1.0.0');
    p.current.pilot.path = 'pilot/gone/pilot-gone.tar.gz';
  });
  assert.deepEqual(verify(withdrawn).channels.stable?.kill, ['1.0.0']);
});

test('a role answers only for its own paths', async () => {
  const path = 'pilot/6.6.6/pilot-6.6.6.tar.gz';
  const target = targetFile({ path, length: 1, sha256: 'f'.repeat(64) });
  const bytes = await withRole('canary', signed => (signed.targets[path] = target), ['manager-1']);
  assert.equal(verify(bytes).targets.has(path), false);
  const unsigned = {
    ...good,
    files: { ...good.files, 'channels/dev.json': good.files!['channels/dev.json']! },
  };
  refused({ ...unsigned, roles: { releases: good.roles.releases! } }, 'E_TARGET_UNKNOWN', /channels\/stable/);
});
