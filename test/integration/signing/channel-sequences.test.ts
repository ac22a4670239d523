import assert from 'node:assert/strict';
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { chooseRelease } from '../../../codecache/client/choose-release.ts';
import { PilotageError } from '../../../lib/errors.ts';
import type { ChannelPointer } from '../../../lib/protocol/release.ts';
import { isUsable } from '../../../signing/release/channels/channel-pointer.ts';
import { compareVersions } from '../../../signing/release/channels/compare-versions.ts';
import { halt, resume } from '../../../signing/release/channels/halt.ts';
import { listChannels } from '../../../signing/release/channels/list-channels.ts';
import { promote } from '../../../signing/release/channels/promote.ts';
import { revoke } from '../../../signing/release/channels/revoke.ts';
import { places } from '../../../signing/release/layout.ts';
import { readPublicDirectory } from '../../../signing/release/metadata/read-public.ts';
import { verifyMetadata } from '../../../signing/release/metadata/verify-metadata.ts';
import { publish } from '../../../signing/release/repository/publish.ts';
import { openRepository, type ReleaseContext } from '../../../signing/release/repository/repository.ts';
import { fileStorage } from '../../../signing/release/storage/file-storage.ts';
import { makeReleaseRepository } from '../../lab/release-repository.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';

const versions = ['1.0.0', '1.1.0', '1.2.0', '1.3.0', '1.4.0'];
const version = fc.constantFrom(...versions);
const channel = fc.constantFrom('stable', 'canary');
const percent = fc.constantFrom(0, 10, 100, 100);
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 4 });

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('promote'), version, channel, percent }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('promote'), version, channel, minVersion: version }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('pass on') }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('halt'), channel }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resume'), channel, percent: optional(percent) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('revoke'), version, kill: fc.boolean() }) },
);
interface Step {
  do: string;
  version?: string;
  channel?: string;
  percent?: number | undefined;
  minVersion?: string;
  kill?: boolean;
}

async function run(context: ReleaseContext, { do: what, ...options }: Step): Promise<unknown> {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const all = { ...context, ...given, version: options.version ?? '', channel: options.channel ?? '' };
  if (what === 'promote') return promote(all);
  if (what === 'pass on') return promote({ ...context, fromChannel: 'canary', channel: 'stable' });
  if (what === 'halt') return halt(all);
  return what === 'resume' ? resume(all) : revoke({ ...context, ...given, version: all.version });
}

const isEverywhere = ({ rollout }: ChannelPointer) => rollout.percent === 100 && rollout.sites.length === 0;
const nodes = Array.from({ length: 20 }, (_, index) => `node-${index}`);

/** Version that a node starts, or the code it is refused with. */
function taken(pointer: ChannelPointer, node: string): string {
  try {
    const where = { arch: 'linux-x64', nowMs: Date.now(), site: 'CERN', node };
    return chooseRelease(pointer, where, 'here').version;
  } catch (error) {
    return (error as { code: string }).code;
  }
}

test('whatever is done to channels in whatever order, no rule of theirs is ever broken', async t => {
  const directory = await temporaryDirectory(t, 'sequences');
  const lab = await makeReleaseRepository({ directory });
  for (const next of versions.slice(1)) await lab.addPilot(next);
  await lab.publish();
  let copies = 0;
  const done = new Map<string, number>();
  const sequence = fc.asyncProperty(fc.array(step, { minLength: 6, maxLength: 14 }), async steps => {
    const copy = join(directory, `copy-${(copies += 1)}`);
    await cp(lab.directory, copy, { recursive: true });
    const context = { ...lab.context, storage: fileStorage(copy) };
    const pointers = async () =>
      new Map((await listChannels(context)).map(({ channel: name, pointer }) => [name as string, pointer!]));
    let before = await pointers();
    // Builds that every node of the channel was sent to at some time.
    const had = new Map([...before].map(([name, { current }]) => [name, new Set([current.version])]));
    for (const next of steps) {
      const refused = await run(context, next).then(
        () => false,
        (error: unknown) => {
          assert.ok(error instanceof PilotageError, String(error));
          return true;
        },
      );
      const after = await pointers();
      if (refused) assert.deepEqual(after, before, 'what is refused changes nothing');
      else done.set(next.do, (done.get(next.do) ?? 0) + 1);
      const signed = (await openRepository(context)).roles.releases.metadata.signed.targets;
      for (const [name, pointer] of after) {
        const was = before.get(name)!;
        const { current, previous, yanked, kill, min_version: least, serial } = pointer;
        assert.equal(serial, was.serial + (pointer.serial === was.serial ? 0 : 1));
        if (serial === was.serial) assert.deepEqual(pointer, was);
        assert.ok(
          was.yanked.every(gone => yanked.includes(gone)),
          'a withdrawn version stays withdrawn',
        );
        assert.ok(kill.every(gone => yanked.includes(gone)));
        if (was.min_version !== null) assert.ok(compareVersions(least!, was.min_version) >= 0);
        if (previous) {
          assert.ok(had.get(name)!.has(previous.version), 'nodes go back only to what they all had');
          assert.ok(isUsable(previous, pointer, signed), 'and can start it');
        }
        const moved = next.do === 'revoke' && !refused && was.current.version === next.version;
        if (moved && was.previous && isUsable(was.previous, pointer, signed)) {
          assert.equal(current.version, was.previous.version);
        }
        if (yanked.includes(current.version)) assert.equal(previous, null, 'nothing better was there');
        for (const node of nodes) {
          const start = taken(pointer, node);
          assert.ok(!yanked.includes(start), `${start} was withdrawn`);
          if (next.do === 'halt' && next.channel === name && !refused) {
            assert.notEqual(start, current.version);
            if (previous) assert.equal(start, previous.version);
          }
        }
        if (isEverywhere(pointer)) had.get(name)!.add(current.version);
      }
      before = after;
    }
    await publish(context);
    const bytes = await readPublicDirectory(context.storage.where(places.public));
    const verified = verifyMetadata(bytes, { nowMs: Date.now(), where: 'public' });
    for (const [name, pointer] of before) assert.deepEqual(verified.channels[name], pointer);
  });
  await fc.assert(sequence, { numRuns: 25 });
  for (const what of ['promote', 'pass on', 'halt', 'resume', 'revoke']) {
    assert.ok(done.get(what)! > 0, `${what} was done`);
  }
});
