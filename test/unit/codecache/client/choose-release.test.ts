import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { channelOf, compareVersions } from '../../../../codecache/client/choose-release.ts';

test('a queue that the map does not name follows the default, whatever its name', () => {
  const map = Buffer.from(
    JSON.stringify({ schema: 1, serial: 1, default: 'stable', queues: { Q1: 'canary' } }),
  );
  assert.equal(channelOf(map, 'Q1', 'map'), 'canary');
  assert.equal(channelOf(map, 'Q2', 'map'), 'stable');
  assert.equal(channelOf(map, 'constructor', 'map'), 'stable');
  assert.throws(() => channelOf(Buffer.from('{}'), 'Q1', 'map'), { code: 'E_TUF_FORMAT', where: 'map' });
});

const version = fc
  .array(
    fc.oneof(
      fc.nat(30).map(String),
      fc.constantFrom('rc1', 'beta', '0', '08', '1e3', '2e1f', '0x1f', 'inf', 'nan', '99999999999999999999'),
    ),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map(parts => parts.join('.'));

test('versions compare by their numbers, both ways the same', () => {
  assert.equal(compareVersions('1.0.9', '1.0.10'), -1);
  assert.equal(compareVersions('2.0', '1.9.9'), 1);
  assert.equal(compareVersions('1.0', '1.0.5'), -1);
  assert.equal(compareVersions('1.0', '1.0.0'), 0);
  fc.assert(
    fc.property(version, version, (a, b) => {
      assert.equal(compareVersions(a, b) + compareVersions(b, a), 0);
      assert.equal(compareVersions(a, a), 0);
    }),
  );
});

test('the wrapper compares versions as the client does', () => {
  const wrapper = readFileSync(
    new URL('../../../../codecache/bootstrap/wrapper.sh', import.meta.url),
    'utf8',
  );
  const compare = /^function cmp.*$/m.exec(wrapper)![0];
  const pairs = fc.sample(fc.tuple(version, version), 500);
  const input = pairs.map(pair => pair.join(' ')).join('\n');
  const said = execFileSync('awk', [`${compare}\n{print cmp($1,$2)}`], { input: `${input}\n` })
    .toString()
    .trim()
    .split('\n');
  assert.deepEqual(
    said.map(Number),
    pairs.map(([a, b]) => compareVersions(a, b)),
  );
});
