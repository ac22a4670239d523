import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { Agent } from 'undici';
import { stageIn } from '../../../agent/steps/stage-in.ts';
import { systemClock } from '../../../lib/clock.ts';
import { silentLog } from '../../../lib/log.ts';
import type { InputFile } from '../../../lib/protocol/job.ts';

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const quick = { ...systemClock, sleep: (_: number, signal?: AbortSignal) => systemClock.sleep(1, signal) };

let server: Server;
let url: string;
let handler: (request: IncomingMessage, response: ServerResponse) => void;
let requests: string[];
let root: string;
let work: string;
let dispatcher: Agent;

before(async () => {
  server = createServer((request, response) => {
    requests.push(request.url!);
    handler(request, response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  dispatcher = new Agent();
});
beforeEach(async () => {
  requests = [];
  handler = (_, response) => response.end('content');
  if (root) await rm(root, { recursive: true });
  root = await mkdtemp(join(tmpdir(), 'pilotage-stage-'));
  work = join(root, 'work');
  await mkdir(work);
  await mkdir(join(root, 'tmp'));
});
after(async () => {
  await dispatcher.destroy();
  server.closeAllConnections();
  server.close();
  await rm(root, { recursive: true });
});

const run = (inputs: InputFile[], maxBytes = 2 ** 30, signal = new AbortController().signal) =>
  stageIn({
    inputs,
    workDirectory: work,
    temporaryDirectory: join(root, 'tmp'),
    maxBytes,
    concurrency: 3,
    dispatcher,
    signal,
    clock: quick,
    log: silentLog,
  });
const http = (name: string, data = 'content'): InputFile => ({
  name,
  url: `${url}/${name}`,
  sha256: sha256(data),
});
const nothingStaged = async () => {
  assert.deepEqual(await readdir(work, { recursive: true }), []);
  assert.deepEqual(await readdir(join(root, 'tmp')), []);
};

test('file: and http: inputs arrive under their names, also in folders', async () => {
  await writeFile(join(root, 'source'), 'from a file');
  const local = {
    name: 'deep/er/a b',
    url: pathToFileURL(join(root, 'source')).href,
    sha256: sha256('from a file'),
  };
  const staged = await run([local, http('x'), { ...http('y'), bytes: 7 }]);
  assert.deepEqual(
    staged.map(({ name, bytes }) => [name, bytes]),
    [
      ['deep/er/a b', 11],
      ['x', 7],
      ['y', 7],
    ],
  );
  assert.equal(await readFile(join(work, 'deep/er/a b'), 'utf8'), 'from a file');
  assert.equal(await readFile(join(work, 'y'), 'utf8'), 'content');
});

test('one changed byte is refused, expected and found named, and nothing of it stays', async () => {
  handler = (_, response) => response.end('Content');
  await assert.rejects(run([http('x')]), {
    code: 'E_STAGE_IN_CHECKSUM',
    expected: sha256('content'),
    found: sha256('Content'),
    where: `${url}/x`,
  });
  assert.equal(requests.length, 2, 'looked at twice, for a cache may have been caught while filling');
  await nothingStaged();
});

test('a checksum that is right the second time is taken', async () => {
  handler = (_, response) => response.end(requests.length === 1 ? 'conten' : 'content');
  await run([http('x')]);
  assert.equal(await readFile(join(work, 'x'), 'utf8'), 'content');
});

test('more or fewer bytes than declared are refused; more of them are not even read', async () => {
  handler = (_, response) => {
    const more = () => {
      while (response.write('x'.repeat(65_536)));
    };
    response.on('drain', more);
    more();
  };
  await assert.rejects(run([{ ...http('x'), bytes: 1000 }]), {
    code: 'E_STAGE_IN_CHECKSUM',
    found: 'more than 1000 bytes',
  });
  handler = (_, response) => response.end('content');
  await assert.rejects(run([{ ...http('x'), bytes: 8 }]), { code: 'E_STAGE_IN_CHECKSUM', found: '7 bytes' });
  await nothingStaged();
});

test('inputs together stay within the disk limit', async () => {
  await assert.rejects(run([http('a'), http('b'), http('c')], 15), { code: 'E_WORK_DISK_EXCEEDED' });
});

test('busy servers, closed connections and cut bodies are tried again, at most four times', async () => {
  const faults = [
    (response: ServerResponse) => response.writeHead(503).end(),
    (response: ServerResponse) => response.destroy(),
    (response: ServerResponse) => {
      response.writeHead(200, { 'content-length': '7' });
      response.write('con');
      setTimeout(() => response.destroy(), 20);
    },
  ];
  handler = (_, response) => {
    const fault = faults[requests.length - 1];
    if (fault) fault(response);
    else response.end('content');
  };
  await run([http('x')]);
  assert.equal(requests.length, 4);
  requests = [];
  handler = (_, response) => response.destroy();
  await assert.rejects(run([http('x')]), { code: 'E_STAGE_IN_FAILED', where: `${url}/x` });
  assert.equal(requests.length, 4);
});

test('what will not get better is not tried again', async () => {
  handler = (_, response) => response.writeHead(404).end();
  await assert.rejects(run([http('x')]), { code: 'E_STAGE_IN_FAILED', message: /404/ });
  assert.equal(requests.length, 1);
  const gone = { name: 'x', url: pathToFileURL(join(root, 'gone')).href, sha256: sha256('') };
  await assert.rejects(run([gone]), { code: 'E_STAGE_IN_FAILED', message: /ENOENT/ });
  const directory = { name: 'x', url: pathToFileURL(root).href, sha256: sha256('') };
  await assert.rejects(run([directory]), { code: 'E_STAGE_IN_FAILED', message: /regular file/ });
});

test('redirects are followed within http, five at most, never to a file', async () => {
  handler = (request, response) =>
    request.url === '/end' ? response.end('content') : response.writeHead(302, { location: '/end' }).end();
  await run([http('x')]);
  assert.equal(await readFile(join(work, 'x'), 'utf8'), 'content');
  handler = (_, response) => response.writeHead(302, { location: '/again' }).end();
  await assert.rejects(run([http('y')]), { code: 'E_STAGE_IN_FAILED', message: /more than 5/ });
  handler = (_, response) => response.writeHead(302, { location: 'file:///etc/hostname' }).end();
  await assert.rejects(run([http('z')]), { code: 'E_STAGE_IN_FAILED', message: /not http/ });
});

test('the first failure is told, and ends the others', async () => {
  handler = (request, response) => {
    if (request.url === '/bad') response.writeHead(403).end();
    else response.writeHead(200).flushHeaders();
  };
  await assert.rejects(run([http('slow'), http('bad')]), { code: 'E_STAGE_IN_FAILED', where: `${url}/bad` });
});

test('aborted from outside, it ends with that reason', async () => {
  handler = (_, response) => response.writeHead(200).flushHeaders();
  const abort = new AbortController();
  const running = run([http('x')], 100, abort.signal);
  abort.abort(new Error('enough'));
  await assert.rejects(running, { message: 'enough' });
});

test('a redirect to something that is no URL is the fault of the source', async () => {
  handler = (_, response) => response.writeHead(302, { location: 'http://[' }).end();
  await assert.rejects(run([http('x')]), { code: 'E_STAGE_IN_FAILED', where: `${url}/x` });
  await nothingStaged();
});
