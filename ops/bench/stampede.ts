import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { reportError } from '../../lib/cli.ts';
import { temporaryDirectory } from '../../test/lab/temporary.ts';
import type { Ending } from '../../test/lab/temporary.ts';
import { opsError } from '../errors.ts';
import { startProgram } from '../program.ts';
import type { Program } from '../program.ts';
import { createProgress } from '../site/progress.ts';
import { count, readOptions } from './call.ts';
import { addObject } from './cache/known-objects.ts';
import type { KnownObject } from './cache/known-objects.ts';
import { openFileLimit, peakBytes } from './process-tree.ts';
import { CrowdResult } from './stampede/crowd.ts';
import type { Crowd } from './stampede/crowd.ts';
import { judge, summary } from './stampede/judge.ts';
import type { Outcome } from './stampede/judge.ts';

/**
 * `npm run stress:stampede [-- --json] [--clients 2000] [--megabytes 30] [--processes 1]`: so many clients ask for the same release within
 * a second through two caches that are empty. Fails unless every client that stays gets every byte right, the store sends
 * the object once to each process of a cache at most, and none of those takes more than 300 MB.
 */
const CACHES = 2;
const SPREAD_MS = 1000;
/** Time for the processes of clients to start. */
const START_MS = 3000;
const CLIENT_DEADLINE_MS = 480_000;
const FILES_BESIDE_CLIENTS = 200;
const clientProgram = fileURLToPath(new URL('stampede/client-process.ts', import.meta.url));

async function main(): Promise<boolean> {
  const call = readOptions({ clients: '2000', megabytes: '30', processes: '1' });
  const clients = count('--clients', call.clients, 20_000);
  const megabytes = count('--megabytes', call.megabytes, 1000);
  const processes = count('--processes', call.processes, 16);
  await checkFileLimit(clients);

  const progress = createProgress({ quiet: call.json });
  await using cleanup = new AsyncDisposableStack();
  const t: Ending = { after: end => cleanup.defer(async () => end()) };
  const directory = await temporaryDirectory(t, 'stampede');
  const object = await addObject(join(directory, 'store'), 'release.tar.gz', megabytes * 1_000_000);
  const start = async (name: string, args: string[]) => {
    const program = await startProgram({ name, args, logFile: join(directory, `${name}.log`) });
    t.after(() => program.stop());
    return program;
  };
  const storeLog = join(directory, 'store-access.log');
  const store = await start('store', [
    ...'store serve --listen 127.0.0.1:0 --dir'.split(' '),
    join(directory, 'store'),
    `--access-log=${storeLog}`,
  ]);
  const caches: Program[] = [];
  for (let index = 1; index <= CACHES; index += 1) {
    caches.push(
      await start(`cache-${index}`, [
        ...'cache serve --listen 127.0.0.1:0'.split(' '),
        `--upstream=${store.ready.url!}`,
        `--dir=${join(directory, `kept-${index}`)}`,
        `--processes=${processes}`,
      ]),
    );
  }
  const results = await progress.run(`${clients} clients ask for ${megabytes} MB`, () =>
    stampede(clients, caches, object),
  );
  const outcome: Outcome = {
    clients,
    megabytes,
    crowds: results,
    caches: await Promise.all(
      caches.map(async cache => ({ url: cache.ready.url!, peakBytes: await peakBytes(cache.pid) })),
    ),
    processes,
    sentByOrigin: await countSent(storeLog, object.path),
  };
  const failures = judge(outcome);
  process.stdout.write(
    call.json
      ? `${JSON.stringify({ ok: failures.length === 0, failures, ...outcome })}\n`
      : summary(outcome, failures),
  );
  return failures.length === 0;
}

/** A few processes of clients, so that no load process is what all wait for. */
async function stampede(clients: number, caches: Program[], object: KnownObject): Promise<CrowdResult[]> {
  const processes = Math.min(clients, Math.max(4, availableParallelism()));
  const startAtMs = Date.now() + START_MS;
  const firstOf = (index: number) => Math.floor((clients * index) / processes);
  return Promise.all(
    Array.from({ length: processes }, (_, index) =>
      runCrowd({
        caches: caches.map(({ ready }) => {
          const { hostname, port } = new URL(ready.url!);
          return { host: hostname, port: Number(port) };
        }),
        localAddress: `127.0.0.${10 + index}`,
        path: object.path,
        bodyFile: object.file,
        clients: firstOf(index + 1) - firstOf(index),
        first: firstOf(index),
        allClients: clients,
        startAtMs,
        spreadMs: SPREAD_MS,
        deadlineMs: CLIENT_DEADLINE_MS,
      }),
    ),
  );
}

async function runCrowd(crowd: Crowd): Promise<CrowdResult> {
  const child = spawn(process.execPath, [clientProgram, JSON.stringify(crowd)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  child.stdout.on('data', (text: Buffer) => (said += text.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), CLIENT_DEADLINE_MS + 60_000);
  const code = await new Promise(resolve => {
    child.once('close', resolve);
  });
  clearTimeout(timer);
  if (code !== 0)
    throw opsError({ code: 'E_BENCH_FAILED', message: `A process of clients ended with ${String(code)}.` });
  return CrowdResult.parse(JSON.parse(said));
}

/** How often the store began to send the object, by its own log. */
async function countSent(log: string, path: string): Promise<number> {
  const lines = (await readFile(log, 'utf8')).split('\n').filter(line => line !== '');
  const answers = lines.map(line => JSON.parse(line) as { method: string; path: string; status: number });
  return answers.filter(
    answer => answer.path === `/${path}` && answer.method === 'GET' && answer.status < 300,
  ).length;
}

async function checkFileLimit(clients: number): Promise<void> {
  const limit = await openFileLimit();
  const needed = Math.ceil(clients / CACHES) + FILES_BESIDE_CLIENTS;
  if (limit >= needed) return;
  throw opsError({
    code: 'E_BENCH_FAILED',
    message: 'A process may not have as many files open as a cache gets connections.',
    where: 'ulimit -n',
    expected: `at least ${needed}`,
    found: String(limit),
    fix: `Run ulimit -n ${needed} first, or ask for fewer --clients.`,
  });
}

try {
  if (!(await main())) process.exitCode = 1;
} catch (error) {
  reportError(error, process.argv.includes('--json'));
}
