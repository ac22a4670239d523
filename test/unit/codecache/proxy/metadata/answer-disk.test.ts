import assert from 'node:assert/strict';
import { readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { AnswerDisk } from '../../../../../codecache/proxy/metadata/answer-disk.ts';
import { makeAnswer } from '../../../../../codecache/proxy/metadata/answer.ts';
import { silentLog } from '../../../../../lib/log.ts';
import { temporaryDirectory } from '../../../../lab/temporary.ts';

const answer = (key: string, bytes = 100) =>
  makeAnswer(
    { key, upstream: 'http://origin', body: Buffer.alloc(bytes, key), notAfterMs: Infinity },
    { status: 200, fields: { 'cache-control': 'max-age=60', etag: '"a"' }, requestedMs: 0, receivedMs: 0 },
  );

async function diskFor(t: TestContext, bounds: { maxBytes?: number; maxAnswers?: number } = {}) {
  const directory = await temporaryDirectory(t, 'answers');
  const warnings: string[] = [];
  const log = silentLog.child({});
  log.warn = ((_fields: object, text: string) => void warnings.push(text)) as typeof log.warn;
  const disk = new AnswerDisk({ directory, maxBytes: 1 << 20, maxAnswers: 1000, log, ...bounds });
  await disk.open();
  return { disk, warnings, answers: join(directory, 'answers') };
}

test('what is written is read back, also by another process', async t => {
  const { disk } = await diskFor(t);
  const written = answer('/a');
  await disk.write(written);
  assert.deepEqual(await disk.read('/a'), written);
  assert.equal(await disk.read('/b'), undefined);
});

test('any damaged byte is found, the file removed and named', async t => {
  const { disk, warnings, answers } = await diskFor(t);
  await disk.write(answer('/a'));
  const file = join(answers, (await readdir(answers))[0]!);
  const bytes = await readFile(file);
  for (const at of [0, 64, 70, bytes.length - 1]) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 1;
    await writeFile(file, damaged);
    assert.equal(await disk.read('/a'), undefined, String(at));
    assert.deepEqual(await readdir(answers), []);
  }
  assert.equal(warnings.length, 4);
});

test('what cannot be read is not taken for damaged: it stays, and is told', async t => {
  const { disk, warnings, answers } = await diskFor(t);
  await disk.write(answer('/a'));
  const [name] = (await readdir(answers)) as [string];
  await rm(join(answers, name));
  await symlink(name, join(answers, name));
  assert.equal(await disk.read('/a'), undefined);
  assert.deepEqual([await readdir(answers), warnings], [[name], ['a stored answer cannot be read']]);
});

test('a file under the name of another answer is not believed', async t => {
  const { disk, answers } = await diskFor(t);
  await disk.write(answer('/a'));
  const bytes = await readFile(join(answers, (await readdir(answers))[0]!));
  await disk.write(answer('/b'));
  for (const name of await readdir(answers)) await writeFile(join(answers, name), bytes);
  assert.notEqual(await disk.read('/a'), undefined);
  assert.equal(await disk.read('/b'), undefined);
});

test('bytes and count are bounded: the longest unwritten go', async t => {
  const { disk, answers } = await diskFor(t, { maxAnswers: 50 });
  for (let at = 0; at < 200; at += 1) await disk.write(answer(`/${at}`));
  assert.ok((await readdir(answers)).length <= 54);
  assert.notEqual(await disk.read('/199'), undefined);
  const large = await diskFor(t, { maxBytes: 100_000 });
  for (let at = 0; at < 50; at += 1) await large.disk.write(answer(`/${at}`, 20_000));
  assert.ok((await readdir(large.answers)).length <= 6);
});

test('what a killed process left half-written is removed after a while', async t => {
  const { disk, answers } = await diskFor(t);
  for (const name of ['.old.tmp', '.new.tmp']) await writeFile(join(answers, name), 'half');
  await utimes(join(answers, '.old.tmp'), 1, 1);
  await disk.open();
  assert.deepEqual(await readdir(answers), ['.new.tmp']);
});

test('a disk that takes nothing is told once and costs no answer', async t => {
  const { disk, warnings, answers } = await diskFor(t);
  await rm(answers, { recursive: true });
  for (const key of ['/a', '/b', '/c']) await disk.write(answer(key));
  assert.equal(warnings.length, 1);
  assert.equal(await disk.read('/a'), undefined);
});
