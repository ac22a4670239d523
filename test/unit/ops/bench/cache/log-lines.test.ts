import assert from 'node:assert/strict';
import { appendFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { LogLines } from '../../../../../ops/bench/cache/log-lines.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';

test('Lines are counted as they are added, long ones and half ones too', async t => {
  const file = join(await temporaryDirectory(t), 'access.log');
  await writeFile(file, 'one\ntwo\nhal');
  const lines = new LogLines(file);
  assert.equal(await lines.count(), 2);
  await appendFile(file, `f\n${'x'.repeat(3 << 20)}\n${'y\n'.repeat(600_000)}`);
  assert.equal(await lines.count(), 600_004);
  assert.equal(await lines.count(), 600_004);
});

test('Lines that are yet to come are waited for, and missed when they do not', async t => {
  const file = join(await temporaryDirectory(t), 'access.log');
  await writeFile(file, 'one\n');
  const lines = new LogLines(file);
  const reached = lines.reach(3);
  await appendFile(file, 'two\nthree\nfour\n');
  assert.equal(await reached, 4);
  await assert.rejects(new LogLines(file).reach(5, 50), /has 4 lines where at least 5/);
});
