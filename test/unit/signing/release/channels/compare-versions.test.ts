import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { compareVersions } from '../../../../../signing/release/channels/compare-versions.ts';

const version = fc
  .tuple(
    fc.array(
      fc.oneof(
        fc.nat(30).map(String),
        fc.constantFrom(
          'rc1',
          'beta',
          '0',
          '08',
          '1e3',
          '2e1f',
          '0x1f',
          'inf',
          'nan',
          '99999999999999999999',
        ),
      ),
      { minLength: 1, maxLength: 4 },
    ),
    fc.constantFrom('.', '-', '+'),
  )
  .map(([parts, between]) => parts.join('.').replace(/\.(?=[^.]*$)/, between));

test('versions compare by their numbers', () => {
  const sorted = ['26.10.0', '26.9.1', '24.15.0', '26.10.0-rc.1', '26.10.0-rc.2', '26.10.0+1'].sort(
    compareVersions,
  );
  assert.deepEqual(sorted, ['24.15.0', '26.9.1', '26.10.0-rc.1', '26.10.0-rc.2', '26.10.0', '26.10.0+1']);
  assert.equal(compareVersions('1.0.9', '1.0.10'), -1);
  assert.equal(compareVersions('2.0', '1.9.9'), 1);
  assert.equal(compareVersions('1.0', '1.0.5'), -1);
  assert.equal(compareVersions('1.0', '1.0.0'), 0);
  assert.equal(compareVersions('1.0.0-rc.1', '1.0'), -1, 'a pre-release is below the least version');
});

test('it is an order', () => {
  fc.assert(
    fc.property(version, version, version, (a, b, c) => {
      assert.equal(compareVersions(a, b) + compareVersions(b, a), 0);
      assert.equal(compareVersions(a, a), 0);
      if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0) assert.ok(compareVersions(a, c) <= 0);
    }),
  );
});

test('the wrapper compares versions as everything else does', () => {
  const program = readFileSync(
    new URL('../../../../../codecache/bootstrap/program/read-json.awk', import.meta.url),
    'utf8',
  );
  const compare = /^function compare\(.*?^}\nfunction leading\(.*?^}$/ms.exec(program)![0];
  const pairs = fc.sample(fc.tuple(version, version), 500);
  const input = pairs.map(pair => pair.join(' ')).join('\n');
  const said = execFileSync('awk', [`${compare}\n{print compare($1,$2)}`], { input: `${input}\n` })
    .toString()
    .trim()
    .split('\n');
  assert.deepEqual(
    said.map(Number),
    pairs.map(([a, b]) => compareVersions(a, b)),
  );
});
