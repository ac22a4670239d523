import assert from 'node:assert/strict';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import * as fc from 'fast-check';
import { BoundedLog } from '../../../agent/bounded-log.ts';

let root: string;
let files = 0;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'pilotage-log-'));
});
after(() => rm(root, { recursive: true }));

async function keep(chunks: readonly Buffer[], limit: number) {
  const path = join(root, `log-${(files += 1)}`);
  const log = await BoundedLog.create(path, limit);
  for (const chunk of chunks) await log.write(chunk);
  const parts: Buffer[] = [];
  for await (const part of log.kept(100)) parts.push(part);
  const { size, mode } = await stat(path);
  await log.close();
  return { log, kept: Buffer.concat(parts), size, mode: mode & 0o777 };
}

test('up to its limit a log is kept as it came, in a file of mode 0600', async () => {
  const { kept, mode, log } = await keep([Buffer.from('one\n'), Buffer.from('two\n')], 1024);
  assert.equal(kept.toString(), 'one\ntwo\n');
  assert.equal(mode, 0o600);
  assert.equal(log.cutBytes, 0);
});

test('beyond it: first part, one line with the numbers, last part; never more than the limit (property)', async () => {
  const chunk = fc.nat({ max: 5000 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(chunk, { maxLength: 12 }),
      fc.integer({ min: 1024, max: 4096 }),
      async (sizes, limit) => {
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const whole = Buffer.from(
          Array.from({ length: total }, (_, index) => 97 + ((index * 7 + (index >> 8)) % 26)),
        );
        let offset = 0;
        const chunks = sizes.map(size => whole.subarray(offset, (offset += size)));
        const { kept, size, log } = await keep(chunks, limit);
        assert.equal(log.totalBytes, total);
        assert.ok(size <= limit && kept.length <= limit, `${size} ${kept.length} ${limit}`);
        if (log.cutBytes === 0) {
          assert.ok(kept.equals(whole));
          return;
        }
        const text = kept.toString();
        const mark = /\n\[pilotage: (\d+) of (\d+) bytes cut here; limits.logBytes is (\d+)\]\n/.exec(text)!;
        const first = text.slice(0, mark.index);
        const last = text.slice(mark.index + mark[0].length);
        assert.deepEqual(mark.slice(1).map(Number), [total - first.length - last.length, total, limit]);
        assert.ok(whole.toString().startsWith(first));
        assert.ok(whole.toString().endsWith(last));
      },
    ),
    { numRuns: 60 },
  );
});

test('the tail is the newest 8 KiB, cut between characters, without NUL', async () => {
  const text = 'é'.repeat(10_000);
  const { log } = await keep([Buffer.from(`x${text}`)], 1024);
  assert.equal(log.tail(), 'é'.repeat(4096));
  const odd = await keep([Buffer.from(text), Buffer.from('!')], 1024);
  assert.equal(odd.log.tail(), `${'é'.repeat(4095)}!`);
  const zero = await keep([Buffer.from('a\0b')], 1024);
  assert.equal(zero.log.tail(), 'a\uFFFDb');
});

test('a file that can no longer be written is drained all the same, and says why', async () => {
  const log = await BoundedLog.create(join(root, 'closed'), 1024);
  await log.close();
  await log.write(Buffer.from('text'));
  assert.equal(log.totalBytes, 4);
  assert.equal(log.tail(), 'text');
  assert.match(log.failure!, /closed/);
});
