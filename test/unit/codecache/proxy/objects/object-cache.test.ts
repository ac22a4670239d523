import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { DiskTier } from '../../../../../codecache/proxy/objects/disk-tier.ts';
import { LocalKeeper } from '../../../../../codecache/proxy/objects/local-keeper.ts';
import { MemoryTier } from '../../../../../codecache/proxy/objects/memory-tier.ts';
import { ObjectCache } from '../../../../../codecache/proxy/objects/object-cache.ts';
import type { Upstream } from '../../../../../codecache/proxy/upstreams/upstream.ts';
import type { Upstreams } from '../../../../../codecache/proxy/upstreams/upstreams.ts';
import { systemClock } from '../../../../../lib/clock.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';
import { waitUntil } from '../../../../lab/wait-until.ts';

const body = Buffer.from('the object');
const digest = createHash('sha256').update(body).digest('hex');
const name = { kind: 'hash-named', path: `targets/${digest}.x`, sha256: digest } as const;

test('when all is purged, what only memory has any more is not served either', async t => {
  const directory = await temporaryDirectory(t, 'object-cache');
  const log = silentLog;
  const clock = systemClock;
  const keeper = new LocalKeeper({ directory, maxBytes: 1000, log });
  await keeper.load();
  const memory = new MemoryTier({ maxBytes: 1000 });
  const disk = new DiskTier({ directory, keeper, clock, log });
  const cache = new ObjectCache({ memory, disk, keeper, clock, maxBytes: 1000 });
  const upstreams = {
    order: () => [{ sibling: false } as Upstream],
    ask: async () => ({
      status: 200,
      headers: { 'content-length': String(body.length) },
      body: Readable.from([body]),
    }),
  } as unknown as Upstreams;
  const wish = { needs: (bytes: number) => ({ start: 0, end: bytes - 1 }), via: 'x' };
  const got = await cache.get(upstreams, name, wish);
  assert.equal(got.how, 'miss');
  await waitUntil('it is on disk', () => keeper.usage().objects === 1);
  await keeper.resize(1);
  assert.equal(keeper.usage().objects, 0);
  const kept = { ...wish, onlyIfCached: true };
  assert.equal((await cache.get(upstreams, name, kept)).how, 'hit');
  await keeper.purge();
  await assert.rejects(cache.get(upstreams, name, kept), { code: 'E_NOT_CACHED' });
  await cache.close();
});
