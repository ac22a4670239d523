import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  channelOf,
  chooseRelease,
  rolloutBucket,
  takesPart,
} from '../../../../codecache/client/choose-release.ts';
import { ChannelPointer } from '../../../../lib/protocol/release.ts';

test('a queue that the map does not name follows the default, whatever its name', () => {
  const map = Buffer.from(
    JSON.stringify({ schema: 1, serial: 1, default: 'stable', queues: { Q1: 'canary' } }),
  );
  assert.equal(channelOf(map, 'Q1', 'map'), 'canary');
  assert.equal(channelOf(map, 'Q2', 'map'), 'stable');
  assert.equal(channelOf(map, 'constructor', 'map'), 'stable');
  assert.throws(() => channelOf(Buffer.from('{}'), 'Q1', 'map'), { code: 'E_TUF_FORMAT', where: 'map' });
});

const vectors = JSON.parse(readFileSync(new URL('./rollout-vectors.json', import.meta.url), 'utf8')) as {
  seed: string;
  site: string;
  node: string;
  bucket: number;
}[];

test('the place of a node in a rollout is that of the vectors, which the wrapper is held to as well', () => {
  for (const { seed, site, node, bucket } of vectors) {
    assert.equal(rolloutBucket(seed, site, node), bucket, `${seed} ${site} ${node}`);
    assert.equal(takesPart({ percent: bucket, seed, sites: [] }, site, node), false);
    assert.equal(takesPart({ percent: bucket + 1, seed, sites: [] }, site, node), true);
  }
});

const nodes = Array.from({ length: 10_000 }, (_, index) => `wn${index}.example.org`);
const taking = (percent: number, seed: string) =>
  new Set(nodes.filter(node => takesPart({ percent, seed, sites: [] }, 'SITE', node)));

test('of many nodes the given share takes part, and nobody leaves as the share grows', () => {
  let before = new Set<string>();
  for (const percent of [0, 1, 5, 25, 50, 75, 99, 100]) {
    const now = taking(percent, '1.0.0');
    assert.ok(Math.abs(now.size / 100 - percent) < 1.5, `${now.size} of 10000 at ${percent} %`);
    assert.ok(before.isSubsetOf(now), `nobody left at ${percent} %`);
    before = now;
  }
  assert.equal(before.size, nodes.length);
});

test('another seed draws other nodes', () => {
  const both = taking(10, '1.0.0').intersection(taking(10, '1.0.1')).size;
  assert.ok(both > 50 && both < 150, `${both} in both draws: about 1 % of the nodes, as by chance`);
});

test('only the sites that are named take part, whatever the percentage', () => {
  const rollout = { percent: 100, seed: 's', sites: ['DESY-HH', 'RAL-LCG2'] };
  assert.equal(takesPart(rollout, 'DESY-HH', 'n'), true);
  assert.equal(takesPart(rollout, 'CERN-PROD', 'n'), false);
  assert.equal(takesPart({ ...rollout, percent: 0 }, 'DESY-HH', 'n'), false);
});

const buildOf = (version: string) => ({
  version,
  pilot: { path: `pilot/${version}/p`, sha256: 'a'.repeat(64), version },
  runtimes: { 'linux-x64': { path: 'runtime/1/r', sha256: 'b'.repeat(64), version: '26.10.0' } },
});
const place = { arch: 'linux-x64', nowMs: 1_000_000, site: 'S', node: 'n' };
const pointer = (changes: Partial<ChannelPointer> = {}) =>
  ChannelPointer.parse({
    schema: 1,
    product: 'pilotage-pilot',
    channel: 'stable',
    serial: 1,
    current: buildOf('2.0.0'),
    previous: buildOf('1.0.0'),
    min_version: null,
    yanked: [],
    rollout: { percent: 100, seed: 's', sites: [] },
    not_before: 0,
    ...changes,
  });
const chosen = (changes: Partial<ChannelPointer>, at = place) =>
  chooseRelease(pointer(changes), at, 'stable.json').version;

test('who takes no part, or is too early, stays on the previous release', () => {
  const halted = { percent: 0, seed: 's', sites: [] };
  assert.equal(chosen({}), '2.0.0');
  assert.equal(chosen({ rollout: halted }), '1.0.0');
  assert.equal(chosen({ not_before: 1001 }), '1.0.0');
  assert.equal(chosen({ not_before: 1000 }), '2.0.0');
  assert.equal(
    chosen({ yanked: ['2.0.0'], rollout: halted }),
    '1.0.0',
    'it does not start what was withdrawn',
  );
  assert.equal(chosen({ yanked: ['1.0.0'] }), '2.0.0');
  const refusals: [string, Partial<ChannelPointer>][] = [
    ['E_CHANNEL_HALTED', { rollout: halted, previous: null }],
    ['E_CHANNEL_HALTED', { rollout: { ...halted, percent: 100, sites: ['T'] }, previous: null }],
    ['E_CHANNEL_HALTED', { not_before: 1001, previous: null }],
    ['E_CHANNEL_YANKED', { rollout: halted, yanked: ['1.0.0'] }],
    ['E_CHANNEL_YANKED', { yanked: ['2.0.0'] }],
    ['E_CHANNEL_YANKED', { rollout: halted, min_version: '1.0.1' }],
    ['E_CHANNEL_YANKED', { min_version: '2.0.1' }],
  ];
  for (const [code, changes] of refusals) {
    assert.throws(() => chosen(changes), { code, where: 'stable.json' }, JSON.stringify(changes));
  }
  assert.throws(() => chosen({}, { ...place, arch: 'linux-arm64' }), { code: 'E_ARCH_UNSUPPORTED' });
});
