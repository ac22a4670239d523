import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { addObject } from '../../../../ops/bench/cache/known-objects.ts';
import type { KnownObject } from '../../../../ops/bench/cache/known-objects.ts';
import { runWrk } from '../../../../ops/bench/cache/wrk.ts';
import { findProgram } from '../../../lab/programs.ts';
import { temporaryDirectory } from '../../../lab/temporary.ts';

async function load(t: TestContext, object: KnownObject, answer: RequestListener) {
  const server = createServer(answer);
  await new Promise<void>(resolve => {
    server.listen(0, '127.0.0.1', resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return runWrk(await findProgram('wrk', 'wrk'), {
    url: `http://${host}`,
    target: `/${object.path}`,
    host,
    object,
    mustHit: true,
    seconds: 1,
    threads: 1,
    pauseMs: 0,
  });
}

test('The load of the cache bench compares every byte, and sees what did not come from the cache', async t => {
  const object = await addObject(await temporaryDirectory(t), 'small', 1000);
  const body = await readFile(object.file);
  const wrong = Buffer.from(body);
  wrong[999]! ^= 1;
  let asked = 0;
  const good = await load(t, object, (request, response) => {
    asked += 1;
    assert.equal(request.url, `/${object.path}`);
    response.writeHead(200, { 'x-cache': 'HIT' }).end(body);
  });
  assert.ok(good.requests > 0 && good.requests <= asked && good.p99Ms > 0);

  const spoiled: [number, string, Buffer, RegExp][] = [
    [200, 'HIT', wrong, /1000 bytes that are not those of the object/],
    [200, 'HIT', body.subarray(1), /999 bytes that are not/],
    [200, 'MISS', body, /X-Cache MISS/],
    [503, 'HIT', body, /status 503/],
  ];
  const runs = spoiled.map(([status, cache, bytes, expected]) => {
    let answered = 0;
    const run = load(t, object, (_, response) => {
      answered += 1;
      if (answered % 50 === 0) response.writeHead(status, { 'x-cache': cache }).end(bytes);
      else response.writeHead(200, { 'x-cache': 'HIT' }).end(body);
    });
    return assert.rejects(run, expected);
  });
  await Promise.all(runs);
});
