import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { MemoryTier } from '../../../../../codecache/proxy/objects/memory-tier.ts';
import { waitUntil } from '../../../../lab/wait-until.ts';

const name = (n: number) => String(n).padStart(64, '0');

test('the least recently used bodies go when the bytes are used up, and say so to who still has them', () => {
  const tier = new MemoryTier({ maxBytes: 10_000 });
  const [first, second] = [1, 2].map(n => tier.put(name(n), Buffer.alloc(4000, n), n)!);
  assert.deepEqual(tier.stats(), { objects: 2, bytes: 8000, hits: 0, evicted: 0 });
  first!.touch();
  tier.put(name(3), Buffer.alloc(4000), 3);
  assert.equal(second!.valid(), false);
  assert.equal(first!.valid(), true);
  assert.equal(second!.body[0], 2, 'who sends it keeps its bytes');
  assert.equal(tier.get(name(1))!.storedMs, 1);
  assert.equal(tier.get(name(2)), undefined);
  assert.equal(tier.stats().hits, 1);
  assert.equal(tier.stats().evicted, 1);
});

test('a body over the limit of one object is not held, and pushes nothing out', () => {
  const tier = new MemoryTier({ maxBytes: 10_000, maxObjectBytes: 3000 });
  const held = tier.put(name(1), Buffer.alloc(3000), 0)!;
  assert.equal(tier.put(name(2), Buffer.alloc(3001), 0), undefined);
  assert.ok(held.valid());
});

test('what is forgotten is valid no more at once, also when it was put again', () => {
  const tier = new MemoryTier({ maxBytes: 10_000 });
  const old = tier.put(name(1), Buffer.alloc(10), 0)!;
  tier.forget(name(1));
  assert.equal(old.valid(), false);
  const again = tier.put(name(1), Buffer.alloc(10), 0)!;
  assert.equal(old.valid(), false);
  assert.ok(again.valid());
  assert.equal(tier.put(name(1), Buffer.alloc(10), 0)!.valid(), true);
  assert.equal(again.valid(), false, 'replaced');
});

test('without memory nothing is held; tiny objects are bounded too', () => {
  const off = new MemoryTier({ maxBytes: 0 });
  assert.equal(off.put(name(1), Buffer.alloc(0), 0), undefined);
  assert.equal(off.get(name(1)), undefined);
  const tier = new MemoryTier({ maxBytes: 10_000 });
  for (let n = 0; n < 1000; n += 1) tier.put(name(n), Buffer.alloc(1), 0);
  assert.ok(tier.stats().objects < 25);
});

test('uses are told of, by the slow path and by who holds a body', () => {
  const used: string[] = [];
  const tier = new MemoryTier({ maxBytes: 10_000, onUse: sha256 => used.push(sha256) });
  const held = tier.put(name(7), Buffer.alloc(1), 0)!;
  assert.deepEqual(used, []);
  tier.get(name(7));
  held.touch();
  assert.deepEqual(used, [name(7), name(7)]);
  tier.forget(name(7));
  held.touch();
  assert.equal(used.length, 2);
});

test('no more is held while as much as the tier was let go and is still being sent', async () => {
  const tier = new MemoryTier({ maxBytes: 4 << 20 });
  const sent: Buffer[] = [];
  const put = (name: string) => {
    const body = Buffer.allocUnsafeSlow(1 << 20);
    const held = tier.put(name.padEnd(64, '0'), body, 0);
    if (held !== undefined) sent.push(body);
    return held;
  };
  for (let index = 0; index < 20; index++) put(`${index}x`);
  assert.ok(sent.length < 10, `${sent.length} MiB are in memory`);
  sent.length = 0;
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  await waitUntil('there is room again when nobody sends them any more', () => {
    collectGarbage();
    return put('later') !== undefined;
  });
});
