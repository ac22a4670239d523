import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { array, assert as hold, asyncProperty, boolean, integer, nat, uint8Array } from 'fast-check';
import { resumeFile } from '../../../../codecache/client/resume-file.ts';
import type { Body } from '../../../../codecache/client/resume-file.ts';
import { PilotageError } from '../../../../lib/errors.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');
const cut = () =>
  new PilotageError({
    code: 'E_CACHE_UNREACHABLE',
    message: 'cut',
    cause: Object.assign(new Error('closed'), { code: 'UND_ERR_SOCKET' }),
  });

interface Behaviour {
  /** Bytes of body before each cut. */
  cuts: number[];
  /** Answers ranges with the whole file, as a server may. */
  ignoresRanges?: boolean;
  /** Answers ranges with another part than was asked for. */
  shift?: number;
}

/** A server of one file, as far as it is asked; `asked` has the byte each request began at. */
function server(file: Buffer, behaviour: Behaviour) {
  const asked: number[] = [];
  const cuts = [...behaviour.cuts];
  const get = (from?: { bytes: number }): Promise<Body> => {
    asked.push(from?.bytes ?? 0);
    const partial = from !== undefined && behaviour.ignoresRanges !== true;
    const start = partial ? from.bytes + (behaviour.shift ?? 0) : 0;
    const body = file.subarray(start);
    const stop = cuts.shift() ?? body.length;
    return Promise.resolve({
      partial,
      headers: {
        'content-length': `${body.length}`,
        etag: '"x"',
        ...(partial && { 'content-range': `bytes ${start}-${file.length - 1}/${file.length}` }),
      },
      async *chunks() {
        for (let at = 0; at < Math.min(stop, body.length); at += 7) {
          yield await Promise.resolve(body.subarray(at, Math.min(at + 7, stop)));
        }
        if (stop < body.length) throw cut();
      },
      discard: () => undefined,
    });
  };
  return { asked, get };
}

const download = (target: string, length: number, get: (from?: { bytes: number }) => Promise<Body>) =>
  resumeFile({
    target,
    length,
    get,
    wrongLength: found => new PilotageError({ code: 'E_TARGET_LENGTH', message: 'wrong', found }),
    onBytes: () => undefined,
  });

test('whatever is cut, and wherever an earlier try ended, the file comes whole and no byte twice', async t => {
  const directory = await temporaryDirectory(t);
  let run = 0;
  await hold(
    asyncProperty(
      uint8Array({ minLength: 1, maxLength: 300 }),
      nat(300),
      array(integer({ min: 1, max: 80 }), { maxLength: 6 }),
      boolean(),
      async (bytes, before, cuts, ignoresRanges) => {
        const file = Buffer.from(bytes);
        const kept = Math.min(before, file.length);
        const target = join(directory, `${(run += 1)}`);
        await writeFile(target, file.subarray(0, kept));
        const { get, asked } = server(file, { cuts, ignoresRanges });
        const got = await download(target, file.length, get);
        assert.equal(got.sha256, sha256(file));
        assert.deepEqual(await readFile(target), file);
        assert.equal(got.kept, ignoresRanges && kept < file.length ? 0 : kept);
        if (!ignoresRanges)
          assert.deepEqual(
            [...asked].sort((a, b) => a - b),
            asked,
            'it only goes on',
          );
        if (kept === file.length) assert.deepEqual(asked, [], 'nothing to ask for');
      },
    ),
    { numRuns: 60 },
  );
});

test('a false beginning does not pass: the hash is over all of it', async t => {
  const target = join(await temporaryDirectory(t), 'part');
  const file = randomBytes(500);
  await writeFile(target, randomBytes(100));
  const { sha256: got, kept } = await download(target, file.length, server(file, { cuts: [] }).get);
  assert.notEqual(got, sha256(file));
  assert.equal(kept, 100);
});

test('a part that was not asked for, and a beginning longer than the file, are thrown away', async t => {
  const directory = await temporaryDirectory(t);
  const file = randomBytes(500);
  for (const [name, beginning, shift] of [
    ['shifted', 100, 5],
    ['longer', 501, 0],
  ] as const) {
    const target = join(directory, name);
    await writeFile(target, randomBytes(beginning));
    const { get, asked } = server(file, { cuts: [], shift });
    assert.equal((await download(target, file.length, get)).sha256, sha256(file));
    assert.deepEqual(asked, name === 'longer' ? [0] : [100, 0]);
  }
});

test('another length is refused as soon as it shows; a cut that brings nothing ends it', async t => {
  const directory = await temporaryDirectory(t);
  const file = randomBytes(500);
  for (const length of [499, 501]) {
    const { get, asked } = server(file, { cuts: [] });
    await assert.rejects(download(join(directory, `${length}`), length, get), { code: 'E_TARGET_LENGTH' });
    assert.equal(asked.length, 1);
  }
  const { get, asked } = server(file, { cuts: [100, 0] });
  await assert.rejects(download(join(directory, 'cut'), 500, get), { code: 'E_CACHE_UNREACHABLE' });
  assert.deepEqual(asked, [0, 100]);
  assert.equal((await readFile(join(directory, 'cut'))).length, 100, 'kept for whoever goes on');
});

test('nothing is written through a link', async t => {
  const directory = await temporaryDirectory(t);
  await symlink(join(directory, 'elsewhere'), join(directory, 'part'));
  const { get } = server(randomBytes(5), { cuts: [] });
  await assert.rejects(download(join(directory, 'part'), 5, get), { code: /^E_/ });
  await assert.rejects(readFile(join(directory, 'elsewhere')), { code: 'ENOENT' });
});
