import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Variants, nominated } from '../../../../../codecache/proxy/metadata/vary.ts';

const never = () => assert.fail('nothing is dropped');

test('Vary names request fields; what cannot be passed on selects nothing again (RFC 9111 4.1)', () => {
  assert.deepEqual(nominated(undefined), []);
  assert.deepEqual(nominated('Accept-Encoding'), [], 'upstreams are always asked for the identity');
  assert.deepEqual(nominated('X-Site, accept , Accept-Encoding'), ['accept', 'x-site']);
  for (const vary of ['*', 'accept, *', 'Cookie', 'Authorization', 'host', 'x y', 'a, b, c, d, e'])
    assert.equal(nominated(vary), '*', vary);
});

test('requests that differ in a nominated field have different keys, and others have the same', () => {
  const variants = new Variants();
  assert.equal(variants.key('/a', { 'x-site': 'cern' }), '/a');
  const cern = variants.learn('/a', ['x-site'], { 'x-site': 'cern' }, never);
  assert.equal(variants.key('/a', { 'x-site': '  cern ' }), cern);
  assert.equal(variants.key('/a', { 'x-site': 'cern', accept: 'text/html' }), cern);
  const keys = new Set([
    cern,
    variants.key('/a', { 'x-site': 'desy' }),
    variants.key('/a', {}),
    variants.key('/b', {}),
  ]);
  assert.equal(keys.size, 4);
  assert.deepEqual(variants.fields('/a', { 'x-site': 'desy', accept: '*/*' }), { 'x-site': 'desy' });
  assert.deepEqual(variants.fields('/b', { 'x-site': 'desy' }), {});
});

test('a name has few variants: the longest unused goes', () => {
  const variants = new Variants();
  const dropped: string[] = [];
  const keys = Array.from({ length: 9 }, (_, at) =>
    variants.learn('/a', ['x-site'], { 'x-site': String(at) }, key => dropped.push(key)),
  );
  assert.deepEqual(dropped, [keys[0]]);
});

test('an answer that varies no more is kept under the name alone', () => {
  const variants = new Variants();
  variants.learn('/a', ['x-site'], { 'x-site': 'cern' }, never);
  assert.equal(variants.learn('/a', [], { 'x-site': 'cern' }, never), '/a');
  assert.equal(variants.key('/a', { 'x-site': 'desy' }), '/a');
});
