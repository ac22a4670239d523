import { join } from 'node:path';
import { reportError } from '../../lib/cli.ts';
import { findProgram, runProgram } from '../../test/lab/programs.ts';
import { temporaryDirectory } from '../../test/lab/temporary.ts';
import type { Ending } from '../../test/lab/temporary.ts';
import { opsError } from '../errors.ts';
import { startProgram } from '../program.ts';
import { createProgress } from '../site/progress.ts';
import { count, readOptions, wrongCall } from './call.ts';
import { addObject } from './cache/known-objects.ts';
import type { KnownObject } from './cache/known-objects.ts';
import { measure, warm } from './cache/measure.ts';
import { cases, mediansOf, ratiosOf, tables } from './cache/report.ts';
import type { Case, Samples, Server } from './cache/report.ts';
import { families, startNginxCache, startOurs, startSquidCache } from './cache/servers.ts';
import type { CacheProcess, Family } from './cache/servers.ts';

/**
 * `npm run bench:cache [-- --json] [--rounds N] [--seconds S] [--subjects ours,squid,nginx]`: our caching proxy side by
 * side with the distribution's Squid and nginx, in front of the same origin, taking turns in one run, access logs on. wrk
 * compares every answer. What counts is requests per second of the server's processor time: requests per second of wall
 * time says more of what else the machine does.
 */
const WARM_SECONDS = 1;
/** 32 connections, a request of each every 10 ms or so: some 3,000 a second, far below what any of them can. */
const PAUSE_MS = 10;

function readCall() {
  const { json, rounds, seconds, subjects } = readOptions({
    rounds: '5',
    seconds: '2',
    subjects: families.join(','),
  });
  const chosen = subjects.split(',') as Family[];
  const unknown = chosen.find(name => !families.includes(name));
  if (unknown !== undefined) throw wrongCall('--subjects', families.join(', '), unknown);
  return {
    json,
    rounds: count('--rounds', rounds, 1000),
    seconds: count('--seconds', seconds, 1000),
    subjects: chosen,
  };
}

/** Installs what is measured against, where this may be done. @throws E_BENCH_FAILED naming what to install. */
async function ensurePrograms(): Promise<{ wrk: string }> {
  const find = async () => {
    await findProgram('squid', 'squid');
    await findProgram('nginx', 'nginx-light');
    return { wrk: await findProgram('wrk', 'wrk') };
  };
  try {
    return await find().catch(async (error: unknown) => {
      if (process.getuid?.() !== 0) throw error;
      await runProgram('sh', ['test/lab/install.sh'], { cwd: process.cwd(), seconds: 900 });
      return find();
    });
  } catch (error) {
    throw opsError({
      code: 'E_BENCH_FAILED',
      message: 'What is measured against is not installed.',
      found: (error as Error).message,
      fix: 'Run sh test/lab/install.sh as root.',
      cause: error,
    });
  }
}

type Place = { directory: string; origin: string };
const starters: Record<Server, (t: Ending, place: Place) => Promise<CacheProcess>> = {
  ours: (t, place) => startOurs(t, { ...place, processes: 1, memory: true }),
  ours_disk: (t, place) => startOurs(t, { ...place, processes: 1, memory: false }),
  ours_two: (t, place) => startOurs(t, { ...place, processes: 2, memory: true }),
  squid: (t, place) => startSquidCache(t, { ...place, processes: 1 }),
  squid_two: (t, place) => startSquidCache(t, { ...place, processes: 2 }),
  nginx: (t, place) => startNginxCache(t, { ...place, processes: 1 }),
  nginx_two: (t, place) => startNginxCache(t, { ...place, processes: 2 }),
};

async function main(): Promise<void> {
  const { json, rounds, seconds, subjects } = readCall();
  const progress = createProgress({ quiet: json });
  const { wrk } = await progress.run('looking for squid, nginx and wrk', ensurePrograms);
  await using cleanup = new AsyncDisposableStack();
  const t: Ending = { after: end => cleanup.defer(async () => end()) };
  const directory = await temporaryDirectory(t, 'bench');
  const store = join(directory, 'store');
  const small = await addObject(store, 'small', 1 << 10);
  const large = await addObject(store, 'large', 1 << 20);
  const origin = await startProgram({
    name: 'store',
    args: ['store', 'serve', '--dir', store, '--listen', '127.0.0.1:0'],
    logFile: join(directory, 'store.log'),
  });
  t.after(() => origin.stop());
  const originUrl = origin.ready.url!;

  const work = (Object.keys(cases) as Case[]).map(kind => ({
    kind,
    object: (kind === 'hit1m' ? large : small) satisfies KnownObject,
    servers: cases[kind].servers.filter(name => subjects.some(family => name.startsWith(family))),
    threads: kind === 'two1k' ? 2 : 1,
    pauseMs: kind === 'paced1k' ? PAUSE_MS : 0,
  }));
  const caches = new Map<Server, CacheProcess>();
  for (const { servers, ...slice } of work) {
    for (const server of servers) {
      const title = `${server}: ${cases[slice.kind].title}`;
      await progress.run(`warming ${title}`, async () => {
        const place = { directory: join(directory, server), origin: originUrl };
        const cache = caches.get(server) ?? (await starters[server](t, place));
        caches.set(server, cache);
        await warm(cache, { ...slice, wrk, origin: originUrl, seconds: WARM_SECONDS });
      });
    }
  }
  const samples: Samples = { hit1k: {}, hit1m: {}, two1k: {}, paced1k: {} };
  for (let round = 1; round <= rounds; round += 1) {
    await progress.run(`round ${round} of ${rounds}`, async tell => {
      for (const { kind, servers, ...slice } of work) {
        // Who begins changes with the round.
        const first = round % servers.length;
        for (const server of [...servers.slice(first), ...servers.slice(0, first)]) {
          tell(`${server}: ${cases[kind].title}`);
          try {
            const sample = await measure(caches.get(server)!, { ...slice, wrk, origin: originUrl, seconds });
            (samples[kind][server] ??= []).push(sample);
          } catch (error) {
            throw opsError({
              code: 'E_BENCH_FAILED',
              message: 'A cache did not answer as it must, so there is nothing to compare.',
              where: `${server}, ${cases[kind].title}`,
              found: (error as Error).message,
              fix: 'Run it again with this one alone (--subjects); if it stays, that cache is at fault.',
              cause: error,
            });
          }
        }
      }
    });
  }
  const result = { ratios: ratiosOf(samples), measured: mediansOf(samples), rounds, seconds };
  process.stdout.write(json ? `${JSON.stringify(result)}\n` : tables(samples));
}

try {
  await main();
} catch (error) {
  reportError(error, process.argv.includes('--json'));
}
