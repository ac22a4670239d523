import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { PassThrough } from '../../../../../codecache/proxy/objects/pass-through.ts';
import type { Upstream } from '../../../../../codecache/proxy/upstreams/upstream.ts';
import type { Upstreams } from '../../../../../codecache/proxy/upstreams/upstreams.ts';
import { systemClock } from '../../../../../lib/clock.ts';

const body = Buffer.from('the object');
const digest = createHash('sha256').update(body).digest('hex');
const name = { kind: 'hash-named', path: `targets/${digest}.x`, sha256: digest } as const;
const AT_ONCE = 16;
const WAITING = 1024;

/** One upstream that answers with these bytes. */
const sending = (bytes: Buffer): Upstreams =>
  ({
    order: () => [{ sibling: false } as Upstream],
    ask: async () => ({
      status: 200,
      headers: { 'content-length': String(bytes.length) },
      body: Readable.from(bytes.length === 0 ? [] : [bytes]),
    }),
    failed: () => new Error('failed'),
    blame: () => new Error('forged'),
  }) as unknown as Upstreams;

const whole = { needs: (length: number) => ({ start: 0, end: length - 1 }), via: 'x' };
const passThrough = () => new PassThrough({ clock: systemClock, maxBytes: 1000 });

test('an empty body in place of an object is served to nobody', async () => {
  await assert.rejects(passThrough().open(sending(Buffer.alloc(0)), name, whole), /forged/);
});

test('as many wait as may; the next one is told to come again, and whoever leaves makes room', async () => {
  const passing = passThrough();
  const upstreams = sending(body);
  const open = (signal?: AbortSignal) =>
    passing.open(upstreams, name, { ...whole, ...(signal && { signal }) });
  const running = await Promise.all(Array.from({ length: AT_ONCE }, () => open()));
  const leaving = new AbortController();
  const left = open(leaving.signal);
  const waiting = Array.from({ length: WAITING - 1 }, () => open());
  await assert.rejects(open(), { code: 'E_CACHE_BUSY', retryAfterSeconds: 5 });
  leaving.abort();
  assert.equal(await left, undefined);
  const last = open();
  for (const source of running) await source!.release();
  for (const turn of [...waiting, last]) {
    const source = await turn;
    const { bytes } = await source!.read(0, body.length - 1);
    assert.deepEqual(bytes, body);
    await source!.release();
  }
  assert.equal(await open(AbortSignal.abort()), undefined);
});
