import assert from 'node:assert/strict';
import { test } from 'node:test';
import { artefactsOf } from '../../../../../codecache/proxy/metadata/follow-channels.ts';

const artefact = (digit: string) => ({ path: `pilot/${digit}`, sha256: digit.repeat(64), version: digit });
const pointer = {
  schema: 1,
  current: {
    version: '2',
    pilot: artefact('a'),
    runtimes: { 'linux-x64': artefact('b'), 'linux-arm64': artefact('c') },
  },
  previous: { version: '1', pilot: artefact('d'), runtimes: { 'linux-x64': artefact('b') } },
  yanked: ['1'],
};
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));

test('a pointer leads to the pilots and runtimes of its current and previous release', () => {
  const digits = artefactsOf(bytes(pointer)).map(sha256 => sha256[0]);
  assert.deepEqual(digits, ['a', 'b', 'c', 'd', 'b']);
  assert.equal(artefactsOf(bytes({ ...pointer, previous: null })).length, 3);
});

test('what is no pointer leads nowhere', () => {
  for (const value of [
    {},
    null,
    { ...pointer, current: undefined },
    { schema: 1, queues: {}, default: 'stable' },
  ])
    assert.deepEqual(artefactsOf(bytes(value)), []);
  assert.deepEqual(artefactsOf(Buffer.from('{')), []);
});
