import { test } from 'node:test';
import type { TestContext } from 'node:test';
import assert from 'node:assert/strict';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { pino } from 'pino';
import { openAccessLog } from '../../../../codecache/http/access-log.ts';
import { printable } from '../../../../codecache/http/observe-answer.ts';
import type { Answered } from '../../../../codecache/http/observe-answer.ts';
import { silentLog } from '../../../../lib/log.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';
import { waitUntil } from '../../../lab/wait-until.ts';

const answered = (changes: Partial<Answered> = {}): Answered => ({
  remote: '192.0.2.7',
  method: 'GET',
  target: '/metadata/timestamp.json',
  status: 200,
  bytes: 1234,
  milliseconds: 0.44,
  complete: true,
  ...changes,
});

async function logIn(t: TestContext) {
  const file = join(await temporaryDirectory(t, 'access-log'), 'access.log');
  return { file, access: await openAccessLog(file, silentLog) };
}

const linesOf = async (file: string) =>
  (await readFile(file, 'latin1'))
    .split('\n')
    .filter(Boolean)
    .map(line => JSON.parse(line) as Record<string, unknown>);

test('whatever a client sends, a line is JSON in one line and says what was sent as far as it is bounded', async t => {
  const { file, access } = await logIn(t);
  const sent: { target: string; userAgent: string; range: string }[] = [];
  const text = fc.oneof(fc.string({ maxLength: 700 }), fc.string({ unit: 'binary', maxLength: 300 }));
  fc.assert(
    fc.property(fc.record({ target: text, userAgent: text, range: text }), given => {
      sent.push(given);
      access.write(answered({ ...given, cache: 'HIT', complete: false }));
    }),
  );
  await access.close();
  const bytes = await readFile(file);
  assert.ok(bytes.every(byte => byte === 10 || (byte >= 0x20 && byte < 0x7f)));
  const lines = await linesOf(file);
  assert.equal(lines.length, sent.length);
  for (const [index, { target, userAgent, range }] of sent.entries()) {
    const { time, ...line } = lines[index]!;
    assert.match(time as string, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.deepEqual(line, {
      remote: '192.0.2.7',
      method: 'GET',
      path: printable(target, 512),
      status: 200,
      bytes: 1234,
      ms: 0.4,
      agent: printable(userAgent, 200),
      range: printable(range, 64),
      cache: 'HIT',
      cut: true,
    });
  }
});

test('lines are written within about a second without anybody asking, and a batch at once', async t => {
  const { file, access } = await logIn(t);
  access.write(answered());
  await waitUntil('the line is there', async () => (await linesOf(file)).length === 1, { seconds: 5 });
  for (let count = 0; count < 1000; count += 1) access.write(answered());
  await waitUntil('a batch is there', async () => (await linesOf(file)).length > 1, { seconds: 0.9 });
  await access.close();
  assert.equal((await linesOf(file)).length, 1001);
});

test('two writers of one file and five rotations: every line once, none torn', async t => {
  const { file, access } = await logIn(t);
  const other = await openAccessLog(file, silentLog);
  const files = [file];
  let written = 0;
  for (let rotation = 0; rotation < 5; rotation += 1) {
    const reopened: Promise<void>[] = [];
    for (let count = 0; count < 4000; count += 1) {
      for (const [name, log] of [access, other].entries()) {
        log.write(answered({ target: `/${name}/${written}`, userAgent: 'agent/1.0 '.repeat(count % 9) }));
        written += 1;
      }
      if (count === 2000) {
        files.push(`${file}.${rotation}`);
        await rename(file, `${file}.${rotation}`);
        reopened.push(access.reopen(), other.reopen());
      }
    }
    await Promise.all(reopened);
  }
  await Promise.all([access.close(), other.close()]);
  const paths = (await Promise.all(files.map(linesOf))).flat().map(({ path }) => path as string);
  assert.equal(paths.length, written);
  assert.equal(new Set(paths).size, written);
});

test('on a full disk lines are lost, counted and told of once; the writer never hears of it', async t => {
  const said: { level: number; msg: string }[] = [];
  const log = pino(
    { level: 'info' },
    { write: text => void said.push(JSON.parse(text) as (typeof said)[0]) },
  );
  const access = await openAccessLog('/dev/full', log);
  t.after(() => access.close());
  for (let round = 0; round < 3; round += 1) {
    for (let count = 0; count < 500; count += 1) access.write(answered());
    await access.reopen();
  }
  assert.equal(access.lost, 1500);
  assert.deepEqual(
    said.map(({ msg }) => msg),
    ['the access log cannot be written: lines are lost'],
  );
});

test('a file that cannot be opened again is told of, and the log goes on in the old one', async t => {
  const { file, access } = await logIn(t);
  access.write(answered());
  await access.reopen();
  await rename(file, `${file}.old`);
  await mkdir(file);
  await access.reopen();
  access.write(answered());
  await access.close();
  assert.equal((await linesOf(`${file}.old`)).length, 2);
});
