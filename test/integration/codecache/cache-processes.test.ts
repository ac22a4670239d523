import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, readdir, rename, writeFile } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ControlClient } from '../../../codecache/proxy/operations/control-client.ts';
import { startDaemon } from '../../lab/daemon.ts';
import type { Daemon } from '../../lab/daemon.ts';
import { temporaryDirectory } from '../../lab/temporary.ts';
import { waitUntil } from '../../lab/wait-until.ts';
import { get, sha256, upstream } from './web.ts';

const program = fileURLToPath(new URL('../../../pilotage.ts', import.meta.url));
const small = randomBytes(1024);
const large = randomBytes(2_000_000);
const nameOf = (bytes: Buffer) => `targets/pilot/1/${sha256(bytes)}.pilot.tar.gz`;

interface Cache extends Daemon {
  url: string;
  directory: string;
  control: ControlClient;
  /** Processes that answer now. */
  workers(): Promise<number[]>;
}

async function cacheOf(t: TestContext, settings: Record<string, unknown> = {}): Promise<Cache> {
  const origin = await upstream(t, (asked, response) => {
    const body = asked.url === `/${nameOf(large)}` ? large : small;
    response.writeHead(200, { 'cache-control': 'public, max-age=31536000, immutable' }).end(body);
  });
  const directory = await temporaryDirectory(t, 'cache-processes');
  const config = join(directory, 'cache.json');
  await writeFile(config, JSON.stringify({ upstreams: [origin.url], drainSeconds: 5, ...settings }));
  const dir = join(directory, 'cache');
  const daemon = await startDaemon({
    name: 'cache',
    command: process.execPath,
    args: [program, 'cache', 'serve', '--config', config, '--dir', dir, '--listen', '127.0.0.1:0'],
    ready: ({ stdout }) => stdout().includes('"ready":true'),
  });
  t.after(() => daemon.stop());
  const { url } = JSON.parse(daemon.stdout()) as { url: string };
  const control = new ControlClient(dir);
  const workers = async () => (await control.stats()).processes.map(({ pid }) => pid);
  return { ...daemon, url, directory, control, workers };
}

/** Keep-alive clients that ask again and again until they are stopped; every answer is checked. */
function load(url: string, clients = 8) {
  const agent = new Agent({ keepAlive: true, maxSockets: clients });
  const result = { answers: 0, failures: [] as string[] };
  const stopping = new AbortController();
  const ask = (body: Buffer) =>
    new Promise<void>(resolve => {
      const failed = (error: Error) => {
        result.failures.push(error.message);
        resolve();
      };
      request(`${url}/${nameOf(body)}`, { agent, timeout: 10_000 }, reply => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('error', failed);
        reply.on('end', () => {
          result.answers += 1;
          if (reply.statusCode !== 200 || !Buffer.concat(chunks).equals(body))
            result.failures.push(`status ${reply.statusCode}, ${chunks.length} chunks`);
          resolve();
        });
      })
        .on('timeout', () => failed(new Error('no answer in 10 s')))
        .on('error', failed)
        .end();
    });
  const loops = Array.from({ length: clients }, async (_, index) => {
    while (!stopping.signal.aborted) await ask(index % 4 === 0 ? large : small);
  });
  return {
    result,
    async stop() {
      stopping.abort();
      await Promise.all(loops);
      agent.destroy();
      return result;
    },
  };
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

test('restarted three times under load, from one process to two and back: no request fails', async t => {
  const cache = await cacheOf(t);
  const config = join(cache.directory, 'cache.json');
  const before = await cache.workers();
  const clients = load(cache.url);
  for (const processes of [2, 2, 1]) {
    const { answers } = clients.result;
    await waitUntil('there is load', () => clients.result.answers > answers + 200);
    const settings = JSON.parse(await readFile(config, 'utf8')) as object;
    await writeFile(config, JSON.stringify({ ...settings, processes }));
    assert.deepEqual(await cache.control.restart(), { processes });
    assert.equal((await cache.workers()).length, processes);
  }
  const { answers } = clients.result;
  await waitUntil('the new ones answer', () => clients.result.answers > answers + 200);
  const { failures } = await clients.stop();
  assert.deepEqual(failures, []);
  assert.ok(
    before.every(pid => !alive(pid)),
    'the old ones are gone',
  );
});

test('a restart is by the configuration of its time, also beside another one; a smaller quota makes room', async t => {
  const cache = await cacheOf(t);
  await get(`${cache.url}/${nameOf(large)}`);
  await waitUntil('it is kept', async () => (await cache.control.stats()).total.disk.objects === 1);
  const config = join(cache.directory, 'cache.json');
  const settings = JSON.parse(await readFile(config, 'utf8')) as object;
  const before = cache.control.restart();
  await waitUntil('one has read it', () => /"msg":"restarting"/.test(cache.stderr()));
  await writeFile(config, JSON.stringify({ ...settings, maxStoreBytes: '1MiB' }));
  await Promise.all([cache.control.restart(), cache.control.restart()]);
  await before;
  assert.equal(cache.stderr().match(/"msg":"restarting"/g)?.length, 2);
  assert.equal((await cache.control.stats()).total.disk.objects, 0);
});

test('a configuration that is wrong changes nothing, and is named to whoever restarts and in the log', async t => {
  const cache = await cacheOf(t);
  const config = join(cache.directory, 'cache.json');
  const before = await cache.workers();
  await writeFile(config, '{"upstreams": ["ftp://x"]}');
  await assert.rejects(cache.control.restart(), { code: 'E_CONFIG_INVALID', where: config });
  process.kill(cache.pid, 'SIGUSR2');
  await waitUntil('the log says so', () => /not restarted/.test(cache.stderr()));
  await writeFile(config, JSON.stringify({ upstreams: ['http://127.0.0.1:9'], accessLog: '/nowhere/log' }));
  await assert.rejects(cache.control.restart(), { code: 'E_FILE_MISSING', where: '/nowhere/log' });
  assert.deepEqual(await cache.workers(), before);
  assert.equal((await get(`${cache.url}/livez`)).status, 200);
});

test('the only worker is killed: it is named and replaced, and whoever connects meanwhile is answered', async t => {
  const cache = await cacheOf(t);
  const [pid] = await cache.workers();
  const incoming = join(cache.directory, 'cache', 'incoming');
  await writeFile(join(incoming, `${pid}-half`), 'what it was receiving');
  process.kill(pid!, 'SIGKILL');
  const answer = await get(`${cache.url}/${nameOf(small)}`);
  assert.ok(answer.body.equals(small));
  const [next] = await cache.workers();
  assert.notEqual(next, pid);
  assert.match(cache.stderr(), new RegExp(`"ended":${pid},"code":null,"signal":"SIGKILL"`));
  const { total } = await cache.control.stats();
  assert.equal(total.replaced, 1);
  await waitUntil('what it left is gone', async () => !(await readdir(incoming)).includes(`${pid}-half`));
});

test('no worker outlives its primary, and the port is free for the next one', async t => {
  const cache = await cacheOf(t, { processes: 2 });
  const workers = await cache.workers();
  assert.equal(workers.length, 2);
  const clients = load(cache.url, 2);
  await waitUntil('there is load', () => clients.result.answers > 50);
  await cache.kill();
  await waitUntil('the workers are gone', () => !workers.some(alive), { seconds: 5 });
  await clients.stop();
  await assert.rejects(get(`${cache.url}/livez`), { code: 'ECONNREFUSED' });
});

test('killed and started again at once: it waits for the workers that were left to give up the address', async t => {
  const cache = await cacheOf(t);
  const [orphan] = await cache.workers();
  process.kill(orphan!, 'SIGSTOP');
  t.after(() => alive(orphan!) && process.kill(orphan!, 'SIGKILL'));
  await cache.kill();
  const next = await startDaemon({
    name: 'cache',
    command: process.execPath,
    args: [
      program,
      'cache',
      'serve',
      '--config',
      join(cache.directory, 'cache.json'),
      '--dir',
      join(cache.directory, 'cache'),
      '--listen',
      new URL(cache.url).host,
    ],
    ready: ({ stdout, stderr }) => {
      if (stderr().includes('waiting for the workers') && alive(orphan!)) process.kill(orphan!, 'SIGCONT');
      return stdout().includes('"ready":true');
    },
  });
  t.after(() => next.stop());
  assert.match(next.stderr(), /waiting for the workers of a cache that was killed/);
  assert.equal((await get(`${cache.url}/${nameOf(small)}`)).status, 200);
});

test('SIGTERM: nobody is let in any more, answers under way are finished, and it ends in order', async t => {
  const cache = await cacheOf(t, { processes: 2 });
  const body = new Promise<Buffer>((resolve, reject) => {
    request(`${cache.url}/${nameOf(large)}`, reply => {
      const chunks: Buffer[] = [];
      reply.on('error', reject);
      reply.on('end', () => resolve(Buffer.concat(chunks)));
      process.kill(cache.pid, 'SIGTERM');
      const closed = waitUntil('nobody is let in', () =>
        get(`${cache.url}/livez`).then(
          () => false,
          () => true,
        ),
      );
      closed.then(() => reply.on('data', (chunk: Buffer) => chunks.push(chunk)), reject);
    })
      .on('error', reject)
      .end();
  });
  assert.ok((await body).equals(large));
  assert.deepEqual(await cache.exited, { code: 0, signal: null });
});

test('the access log of two processes, rotated five times under load: every request once, no line torn', async t => {
  const directory = await temporaryDirectory(t, 'cache-access-log');
  const file = join(directory, 'access.log');
  const cache = await cacheOf(t, { processes: 2, accessLog: file });
  const clients = load(cache.url);
  for (let rotation = 0; rotation < 5; rotation += 1) {
    const { answers } = clients.result;
    await waitUntil('there is load', () => clients.result.answers > answers + 300);
    await rename(file, `${file}.${rotation}`);
    process.kill(cache.pid, 'SIGHUP');
    await waitUntil('there is a new file', () => readFile(file).then(() => true));
  }
  const { answers, failures } = await clients.stop();
  assert.deepEqual(failures, []);
  await cache.stop();
  const names = await readdir(directory);
  assert.equal(names.length, 6);
  const texts = await Promise.all(names.map(name => readFile(join(directory, name), 'utf8')));
  const lines = texts.flatMap(text => text.split('\n').filter(Boolean));
  const paths = lines.map(line => (JSON.parse(line) as { path: string }).path);
  assert.equal(paths.filter(path => path.startsWith('/targets/')).length, answers);
});

test('a second cache on the directory is refused and says who has it', async t => {
  const cache = await cacheOf(t);
  const args = ['--dir', join(cache.directory, 'cache'), '--upstream', 'http://127.0.0.1:9'];
  await assert.rejects(
    startDaemon({
      name: 'second cache',
      command: process.execPath,
      args: [program, 'cache', 'serve', '--listen', '127.0.0.1:0', ...args],
      ready: () => false,
    }),
    new RegExp(`E_DIRECTORY_IN_USE: (.|\\n)*found: process ${cache.pid}\\n`),
  );
});

test('what is no socket in the place of the control socket is named, and left as it is', async t => {
  const directory = await temporaryDirectory(t);
  await mkdir(join(directory, 'control'));
  const args = ['--dir', directory, '--upstream', 'http://127.0.0.1:9', '--listen', '127.0.0.1:0'];
  await assert.rejects(
    startDaemon({
      name: 'cache',
      command: process.execPath,
      args: [program, 'cache', 'serve', ...args],
      ready: () => false,
    }),
    new RegExp(`E_FILE_UNREADABLE: (.|\\n)*where: ${join(directory, 'control')}\\n`),
  );
});
