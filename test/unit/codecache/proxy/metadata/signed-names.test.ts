import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { objectName } from '../../../../../codecache/http/object-name.ts';
import { misfit } from '../../../../../codecache/proxy/metadata/check-metadata.ts';
import { readSigned } from '../../../../../codecache/proxy/metadata/read-signed.ts';
import { SignedNames } from '../../../../../codecache/proxy/metadata/signed-names.ts';

const UPSTREAM = 'http://origin';
const of = (signed: object) => {
  const body = Buffer.from(
    JSON.stringify({ signatures: [], signed: { expires: '2030-01-01T00:00:00Z', ...signed } }),
  );
  return { body, sha256: createHash('sha256').update(body).digest('hex'), upstream: UPSTREAM };
};
const entry = ({ body, sha256 }: { body: Buffer; sha256: string }, version: number) => ({
  version,
  length: body.length,
  hashes: { sha256 },
});

const role = of({ _type: 'targets', version: 7 });
const snapshot = of({ _type: 'snapshot', version: 3, meta: { 'stable.json': entry(role, 7) } });
const timestamp = of({ _type: 'timestamp', version: 9, meta: { 'snapshot.json': entry(snapshot, 3) } });
const other = of({ _type: 'snapshot', version: 3, meta: {}, more: 1 });
const names = {
  timestamp: objectName('metadata/timestamp.json'),
  snapshot: objectName('metadata/3.snapshot.json'),
  role: objectName('metadata/7.stable.json'),
};

test('the timestamp names the snapshot, a snapshot that fits names the roles', () => {
  const known = new SignedNames();
  assert.equal(known.judge(names.snapshot, snapshot), 'unknown');
  assert.deepEqual(known.learn(names.snapshot, snapshot), [], 'not named itself: not believed');
  assert.deepEqual(known.learn(names.timestamp, timestamp), ['metadata/3.snapshot.json']);
  assert.deepEqual(known.timestamp, { version: 9, upstream: UPSTREAM, snapshot: names.snapshot.path });
  assert.equal(known.judge(names.snapshot, snapshot), 'fits');
  assert.deepEqual(known.learn(names.snapshot, snapshot), ['metadata/7.stable.json']);
  assert.equal(known.judge(names.role, role), 'fits');
  assert.deepEqual(known.learn(names.snapshot, snapshot), [], 'nothing new');
});

test('another hash or another length does not fit, and who named it is told', () => {
  const known = new SignedNames();
  known.learn(names.timestamp, timestamp);
  const verdict = known.judge(names.snapshot, other);
  assert.ok(typeof verdict === 'object');
  assert.match(verdict.expected, new RegExp(`${snapshot.sha256}.*${UPSTREAM}`));
  assert.match(verdict.found, new RegExp(other.sha256));
  assert.deepEqual(known.learn(names.snapshot, other), []);
  assert.equal(typeof known.judge(names.snapshot, { ...snapshot, sha256: other.sha256 }), 'object');
  const longer = { ...snapshot, body: Buffer.concat([snapshot.body, Buffer.from(' ')]) };
  assert.equal(typeof known.judge(names.snapshot, longer), 'object');
});

test('what one upstream names goes with its timestamp', () => {
  const known = new SignedNames();
  known.learn(names.timestamp, timestamp);
  known.learn(names.snapshot, snapshot);
  const top = of({ _type: 'timestamp', version: 10, meta: { 'snapshot.json': entry(other, 4) } });
  assert.deepEqual(known.learn(names.timestamp, { ...top, upstream: 'http://forger' }), [
    'metadata/4.snapshot.json',
  ]);
  assert.equal(known.judge(names.role, role), 'unknown');
  assert.deepEqual(known.learn(names.timestamp, timestamp), [names.snapshot.path], 'and so on to the roles');
});

test('a repository that names versions only is taken at its word', () => {
  const known = new SignedNames();
  known.learn(
    names.timestamp,
    of({ _type: 'timestamp', version: 1, meta: { 'snapshot.json': { version: 3 } } }),
  );
  assert.equal(known.judge(names.snapshot, other), 'fits');
});

test('clients have reason to ask for what is named, and for roots up to the first that is missing', () => {
  const known = new SignedNames();
  const expected = (path: string) => known.expects(objectName(path));
  assert.deepEqual([expected('metadata/timestamp.json'), expected('metadata/1.root.json')], [true, true]);
  assert.deepEqual([expected(names.snapshot.path), expected('metadata/5.root.json')], [false, false]);
  known.learn(names.timestamp, timestamp);
  assert.equal(expected(names.snapshot.path), true);
  known.learnMissing(objectName('metadata/90.root.json'));
  known.learnMissing(objectName('metadata/5.root.json'));
  known.learnMissing(objectName('metadata/70.root.json'));
  assert.deepEqual([expected('metadata/5.root.json'), expected('metadata/70.root.json')], [true, false]);
  known.learn(objectName('metadata/5.root.json'), of({ _type: 'root', version: 5 }));
  assert.deepEqual([expected('metadata/6.root.json'), expected('metadata/7.root.json')], [true, false]);
});

test('metadata is of the role and version in its name', () => {
  const cases: [string, string, string | undefined][] = [
    ['metadata/3.snapshot.json', snapshot.body.toString(), undefined],
    ['metadata/timestamp.json', timestamp.body.toString(), undefined],
    ['metadata/7.stable.json', role.body.toString(), undefined],
    ['metadata/4.snapshot.json', snapshot.body.toString(), 'version 3'],
    ['metadata/3.stable.json', snapshot.body.toString(), 'a document of type snapshot'],
    ['metadata/timestamp.json', of({ _type: 'timestamp', version: 0 }).body.toString(), 'version 0'],
    ['metadata/1.root.json', '<html>', 'bytes that are not JSON'],
    ['metadata/1.root.json', '[]', 'JSON without a signed part'],
    [
      'metadata/1.root.json',
      '{"signed":{"_type":"root","version":"1"}}',
      'JSON without a type and a version',
    ],
    ['metadata/notes.json', '<html>', undefined],
  ];
  for (const [path, text, found] of cases)
    assert.equal(misfit(objectName(path), readSigned(Buffer.from(text))), found, path + text);
});

test('whatever a forger writes is read without a failure', () => {
  fc.assert(
    fc.property(fc.json(), fc.json(), (meta, targets) => {
      const text = `{"signed":{"_type":"snapshot","version":1,"expires":1,"meta":${meta},"targets":${targets}}}`;
      const read = readSigned(Buffer.from(text));
      assert.ok(typeof read === 'object' && Number.isNaN(read.expiresMs));
      for (const [, named] of read.meta) assert.ok(Number.isSafeInteger(named.version));
    }),
  );
});
