import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { PilotageError } from '../../../../../lib/errors.ts';
import { readPublicDirectory } from '../../../../../signing/release/metadata/read-public.ts';
import {
  metaFile,
  parseMetadata,
  signMetadata,
} from '../../../../../signing/release/metadata/role-metadata.ts';
import {
  verifyMetadata,
  type MetadataBytes,
  type VerifiedMetadata,
} from '../../../../../signing/release/metadata/verify-metadata.ts';
import { makeReleaseRepository, type ReleaseRepositoryLab } from '../../../../lab/release-repository.ts';
import { makeTemporaryDirectory } from '../../../../lab/temporary.ts';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

let lab: ReleaseRepositoryLab;
let good: MetadataBytes;
let original: VerifiedMetadata;
const startMs = Date.parse('2026-11-22T12:00:00Z');
const home = await makeTemporaryDirectory('mutations');
after(home.remove);
before(async () => {
  const clock = { now: () => startMs, monotonic: () => performance.now(), sleep: async () => undefined };
  lab = await makeReleaseRepository({ directory: home.path, clock });
  await lab.resign('root');
  await lab.publish();
  good = await readPublicDirectory(lab.publicDirectory, lab.rootJson);
  original = verify(good);
});

const verify = (bytes: MetadataBytes) =>
  verifyMetadata(bytes, { nowMs: startMs + 1000, where: 'http://cache' });

/** Every value inside a document, with what sets it. */
function* places(
  value: Json,
  set: (value: Json | undefined) => void,
): Generator<{ value: Json; set: typeof set }> {
  yield { value, set };
  if (value === null || typeof value !== 'object') return;
  for (const key of Object.keys(value)) {
    const parent = value as Record<string, Json>;
    yield* places(parent[key]!, next => {
      if (next !== undefined) parent[key] = next;
      else if (Array.isArray(value)) value.splice(Number(key), 1);
      else delete parent[key];
    });
  }
}

interface Change {
  where: number;
  from: number;
  how: 'delete' | 'replace' | 'copy' | 'add' | 'nudge' | 'bytes';
  text: string;
}
const change: fc.Arbitrary<Change> = fc.record({
  where: fc.nat(),
  from: fc.nat(),
  how: fc.constantFrom('delete', 'replace', 'copy', 'add', 'nudge', 'bytes'),
  text: fc.oneof(fc.string({ maxLength: 8 }), fc.constantFrom('__proto__', 'root', '*', '0', '1e400')),
});

function mutate(bytes: Uint8Array, changes: readonly Change[]): Buffer {
  const holder: { document: Json } = { document: JSON.parse(Buffer.from(bytes).toString()) as Json };
  let cut: Change | undefined;
  for (const step of changes) {
    const all = [...places(holder.document, next => (holder.document = next ?? null))];
    const { value, set } = all[step.where % all.length]!;
    if (step.how === 'delete') set(undefined);
    else if (step.how === 'replace') set([null, 0, '', [], {}, step.text][step.from % 6]);
    else if (step.how === 'copy') set(structuredClone(all[step.from % all.length]!.value));
    else if (step.how === 'nudge') set(nudged(value, step));
    else if (step.how === 'bytes') cut = step;
    else if (Array.isArray(value)) value.push(structuredClone(all[step.from % all.length]!.value));
    else if (typeof value === 'object' && value !== null) value[step.text] = step.from;
  }
  const text = Buffer.from(JSON.stringify(holder.document));
  if (cut === undefined) return text;
  const at = cut.where % text.length;
  return Buffer.concat([text.subarray(0, at), Buffer.from(cut.text), text.subarray(at + (cut.from % 3))]);
}

function nudged(value: Json, { from, text }: Change): Json {
  if (typeof value === 'number') return value + (from % 2 === 0 ? 1 : -1);
  if (typeof value === 'boolean') return !value;
  if (typeof value !== 'string') return text;
  const at = from % (value.length + 1);
  return value.slice(0, at) + text + value.slice(at + 1);
}

/** It is refused as one of ours, or is what was signed. */
function holds(bytes: MetadataBytes): void {
  let verified: VerifiedMetadata;
  try {
    verified = verify(bytes);
  } catch (error) {
    if (error instanceof PilotageError && /^E_(TUF|TARGET|CHANNEL|CLOCK)/.test(error.code)) return;
    throw error;
  }
  assert.deepEqual(verified, original);
}

const changes = fc.array(change, { minLength: 1, maxLength: 3 });

test('metadata that was changed in any way never verifies as anything but the original', () => {
  const files: [Uint8Array, (bytes: Uint8Array) => MetadataBytes][] = [
    [good.roots[0]!, bytes => ({ ...good, roots: [bytes, good.roots[1]!] })],
    [good.roots[1]!, bytes => ({ ...good, roots: [good.roots[0]!, bytes] })],
    [good.timestamp, timestamp => ({ ...good, timestamp })],
    [good.snapshot, snapshot => ({ ...good, snapshot })],
  ];
  const file = fc.constantFrom(...files);
  fc.assert(
    fc.property(file, changes, ([bytes, put], steps) => {
      holds(put(mutate(bytes, steps)));
    }),
    { numRuns: 600 },
  );
});

test('nor does a role that the online keys are made to name: they can forge nothing below them', async () => {
  const keys = await Promise.all(['snapshot', 'timestamp'].map(name => lab.keys.signer(name)));
  const pinned = async (role: string, bytes: Uint8Array): Promise<MetadataBytes> => {
    const snapshot = parseMetadata('snapshot', good.snapshot, 'snapshot').signed;
    snapshot.meta[`${role}.json`] = metaFile(snapshot.meta[`${role}.json`]!.version, bytes);
    const snapshotBytes = await signMetadata(snapshot, [keys[0]!]);
    const timestamp = parseMetadata('timestamp', good.timestamp, 'timestamp').signed;
    Object.assign(timestamp, { snapshotMeta: metaFile(snapshot.version, snapshotBytes) });
    const named = { ...good, snapshot: snapshotBytes, timestamp: await signMetadata(timestamp, [keys[1]!]) };
    if (role === 'targets') return { ...named, targets: bytes };
    return { ...named, roles: { ...good.roles, [role]: bytes } };
  };
  for (const [role, bytes] of [['targets', good.targets] as const, ...Object.entries(good.roles)]) {
    assert.deepEqual(verify(await pinned(role, bytes)), original);
  }
  const role = fc.constantFrom('targets', ...Object.keys(good.roles));
  await fc.assert(
    fc.asyncProperty(role, changes, async (name, steps) => {
      holds(await pinned(name, mutate(name === 'targets' ? good.targets : good.roles[name]!, steps)));
    }),
    { numRuns: 500 },
  );
});
