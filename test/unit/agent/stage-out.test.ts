import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { link, mkdir, mkdtemp, readFile, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, sep } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import * as fc from 'fast-check';
import { Agent } from 'undici';
import { findOutput, outputLocation, stageOut } from '../../../agent/steps/stage-out.ts';
import { systemClock } from '../../../lib/clock.ts';
import { newId } from '../../../lib/ids.ts';
import { silentLog } from '../../../lib/log.ts';
import { fileName } from '../../../lib/protocol/words.ts';

const sha256 = (data: string) => createHash('sha256').update(data).digest('hex');
const quick = { ...systemClock, sleep: (_: number, signal?: AbortSignal) => systemClock.sleep(1, signal) };
const jobId = newId();
const attemptId = newId();

let root: string;
let work: string;
let dispatcher: Agent;
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'pilotage-stage-'));
  work = join(root, 'work');
  await mkdir(join(work, 'dir'), { recursive: true });
  await writeFile(join(work, 'a.txt'), 'A');
  await writeFile(join(work, 'dir/b #1?.txt'), 'BB');
  await writeFile(join(root, 'secret'), 'not yours');
  await symlink('../secret', join(work, 'leak'));
  await symlink('..', join(work, 'up'));
  await symlink('a.txt', join(work, 'alias'));
  await link(join(work, 'a.txt'), join(work, 'hard'));
  dispatcher = new Agent();
});
after(async () => {
  await dispatcher.destroy();
  await rm(root, { recursive: true });
});

const run = (
  names: string[],
  outputUrl: string | undefined,
  optional = false,
  more: { signal?: AbortSignal; maxBytes?: number } = {},
) =>
  stageOut({
    outputs: names.map(name => ({ name, optional })),
    outputUrl,
    jobId,
    attemptId,
    attemptNumber: 2,
    workDirectory: work,
    concurrency: 2,
    dispatcher,
    signal: new AbortController().signal,
    maxBytes: 2 ** 40,
    clock: quick,
    log: silentLog,
    ...more,
  });

test('outputs go to names of the attempt, whole, with their sha256', async () => {
  const store = join(root, 'store');
  const stored = await run(['a.txt', 'dir/b #1?.txt', 'alias'], pathToFileURL(store).href);
  const folder = join(store, jobId, `2-${attemptId}`);
  assert.deepEqual(
    stored.map(output => [output.name, output.bytes, output.sha256]),
    [
      ['a.txt', 1, sha256('A')],
      ['dir/b #1?.txt', 2, sha256('BB')],
      ['alias', 1, sha256('A')],
    ],
  );
  for (const output of stored) assert.equal(fileURLToPath(output.url), join(folder, output.name));
  assert.equal(await readFile(join(folder, 'dir/b #1?.txt'), 'utf8'), 'BB');
  assert.deepEqual((await readdir(folder)).toSorted(), ['a.txt', 'alias', 'dir'], 'no temporary file stays');
});

test('missing outputs are all named, and nothing is stored; optional ones may be missing', async () => {
  const store = join(root, 'nothing');
  await assert.rejects(run(['a.txt', 'no1', 'no2'], pathToFileURL(store).href), {
    code: 'E_OUTPUT_MISSING',
    message: /"no1", "no2"/,
  });
  await assert.rejects(readdir(store));
  assert.deepEqual(await run(['no1'], pathToFileURL(store).href, true), []);
});

test('a directory, or a link that leads out of the work directory, is no output', async () => {
  for (const name of ['dir', 'leak', 'up/secret', '../secret', '/etc/hostname']) {
    assert.equal(await findOutput(work, name), undefined, name);
  }
  assert.equal(await findOutput(work, 'alias'), join(work, 'a.txt'));
  await assert.rejects(run(['leak'], pathToFileURL(root).href), { code: 'E_OUTPUT_MISSING' });
});

test('http: outputs are PUT, again when the server is busy', async () => {
  const kept = new Map<string, string>();
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers['content-length']}`);
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (seen.length === 1) return response.writeHead(503).end();
      kept.set(request.url!, Buffer.concat(parts).toString());
      return response.writeHead(request.url!.includes('refused') ? 403 : 201).end();
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const [stored] = await run(['dir/b #1?.txt'], `${url}/bucket/?token=1`);
  const path = `/bucket/${jobId}/2-${attemptId}/dir/b%20%231%3F.txt?token=1`;
  assert.deepEqual(seen, [`PUT ${path} 2`, `PUT ${path} 2`]);
  assert.equal(kept.get(path), 'BB');
  assert.equal(stored!.sha256, sha256('BB'));
  await assert.rejects(run(['a.txt'], `${url}/refused`), { code: 'E_STAGE_OUT_FAILED', message: /403/ });
  server.closeAllConnections();
  server.close();
});

test('a destination that cannot be written says so, with its URL', async () => {
  await assert.rejects(run(['a.txt'], pathToFileURL(join(root, 'secret')).href), {
    code: 'E_STAGE_OUT_FAILED',
    message: /ENOTDIR|EEXIST/,
  });
});

test('no name leads out of the folder of its attempt (property)', () => {
  const part = fc.oneof(
    fc.constantFrom('..', '.', '', '%2e%2e', '%2F', '\\', '..\\', 'a', '…', ' ', '#', '?', '%00', 'C:', '~'),
    fc.string({ maxLength: 12, unit: 'binary' }),
  );
  const name = fc.array(part, { minLength: 1, maxLength: 6 }).map(parts => parts.join('/'));
  fc.assert(
    fc.property(
      name,
      fc.constantFrom('file:///store', 'file:///store/', 'https://h.example/x'),
      (name, outputUrl) => {
        const where = { outputUrl, jobId, attemptId, attemptNumber: 2 };
        if (!fileName.safeParse(name).success || !name.isWellFormed()) {
          assert.throws(() => outputLocation(where, name), { code: 'E_STAGE_OUT_FAILED' });
          return;
        }
        const url = outputLocation(where, name);
        if (url.protocol === 'file:') {
          assert.equal(fileURLToPath(url), ['/store', jobId, `2-${attemptId}`, name].join(sep));
        } else {
          assert.equal(url.origin, 'https://h.example');
          assert.equal(decodeURIComponent(url.pathname), `/x/${jobId}/2-${attemptId}/${name}`);
          assert.equal(url.search + url.hash, '');
        }
      },
    ),
    { numRuns: 500 },
  );
});

test('outputs larger than the disk limit are refused before a byte is stored, holes or not', async () => {
  const store = join(root, 'store-of-holes');
  await writeFile(join(work, 'holes'), '');
  await truncate(join(work, 'holes'), 2 ** 21);
  const within = { maxBytes: 2 ** 21 + 1 };
  const [stored] = await run(['holes'], pathToFileURL(join(root, 'store-of-few')).href, false, within);
  assert.equal(stored!.bytes, 2 ** 21);
  await assert.rejects(run(['holes', 'dir/b #1?.txt'], pathToFileURL(store).href, false, within), {
    code: 'E_WORK_DISK_EXCEEDED',
    found: `${2 ** 21 + 2} bytes`,
  });
  await assert.rejects(readdir(store), { code: 'ENOENT' });
});

test('a copy to a file ends when it must, and leaves nothing', async () => {
  const store = join(root, 'store-that-is-left');
  await writeFile(join(work, 'large'), '');
  await truncate(join(work, 'large'), 2 ** 28);
  const abort = new AbortController();
  const running = run(['large'], pathToFileURL(store).href, false, { signal: abort.signal });
  running.catch(() => undefined);
  const folder = join(store, jobId, `2-${attemptId}`);
  for (let tries = 0; tries < 2000; tries += 1) {
    if ((await readdir(folder).catch(() => [])).length > 0) break;
    await new Promise(resolve => setTimeout(resolve, 1));
  }
  abort.abort(new Error('the pilot must go'));
  await assert.rejects(running, /the pilot must go/);
  assert.deepEqual(await readdir(folder), []);
});
