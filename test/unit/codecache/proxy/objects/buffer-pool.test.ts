import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BufferPool } from '../../../../../codecache/proxy/objects/buffer-pool.ts';

test('buffers are lent again; with all large ones lent there are small ones, never none', () => {
  const pool = new BufferPool();
  const first = pool.take();
  first.free();
  first.free();
  const again = pool.take();
  assert.equal(again.buffer, first.buffer);
  assert.notEqual(pool.take().buffer, first.buffer, 'freed twice it is lent once');
  const lent = Array.from({ length: 2000 }, () => pool.take().buffer.length);
  assert.ok(lent.reduce((sum, bytes) => sum + bytes, 0) < 64 << 20);
  assert.ok(Math.min(...lent) > 0);
});
