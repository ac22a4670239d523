import { test } from 'node:test';
import assert from 'node:assert/strict';
import { BYTE_SIZE, readByteSize, readableBytes } from '../../../lib/byte-size.ts';

test('sizes are read as people write them, and nothing else is', () => {
  assert.equal(readByteSize('1048576'), 1_048_576);
  assert.equal(readByteSize('512MiB'), 512 * 2 ** 20);
  assert.equal(readByteSize('20GiB'), 20 * 2 ** 30);
  for (const text of ['512MiB', '0', '3TiB']) assert.match(text, BYTE_SIZE);
  for (const text of ['', '-1', '1.5GiB', '512 MiB', '512MB', '512mib', 'GiB', '1e9'])
    assert.doesNotMatch(text, BYTE_SIZE);
});

test('sizes are told in the unit that shows two or three digits', () => {
  for (const [bytes, text] of [
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [612 * 2 ** 20, '612 MiB'],
    [20 * 2 ** 30, '20 GiB'],
  ] as const)
    assert.equal(readableBytes(bytes), text);
});
