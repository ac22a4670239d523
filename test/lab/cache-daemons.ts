import { readFile, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { request } from 'undici';
import type { CacheStats } from '../../codecache/proxy/operations/cache-stats.ts';
import { startDaemon } from './daemon.ts';
import type { Daemon } from './daemon.ts';
import { makeTemporaryDirectory } from './temporary.ts';
import type { Ending } from './temporary.ts';
import { waitUntil } from './wait-until.ts';

const run = promisify(execFile);
const program = fileURLToPath(new URL('../../pilotage.ts', import.meta.url));

/** A program of the product in a process of its own, as its operator starts it. */
export interface Served {
  url: string;
  /** `host:port`, to start another one in its place. */
  listen: string;
  daemon: Daemon;
  /** Its log so far, one record per line. */
  log(): LogLine[];
}

/** Runs `pilotage …` to its end. @throws with `code`, `stdout`, `stderr` when it fails. */
export const runPilotage = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
  run(process.execPath, [program, ...args], {
    env: { ...process.env, PILOTAGE_LOG: 'fatal' },
    timeout: 60_000,
  });

export interface LogLine {
  level: number;
  msg: string;
  [field: string]: unknown;
}

async function serve(t: Ending, name: string, args: readonly string[]): Promise<Served> {
  const daemon = await startDaemon({
    name,
    command: process.execPath,
    args: [program, ...args],
    ready: ({ stdout }) => stdout().includes('"ready":true'),
  });
  t.after(() => daemon.kill());
  const line = daemon
    .stdout()
    .split('\n')
    .find(text => text.includes('"ready":true'))!;
  const { url } = JSON.parse(line) as { url: string };
  return { url, listen: url.slice('http://'.length), daemon, log: () => logLines(daemon.stderr()) };
}

/** `pilotage store serve` for the public part of a repository; killed when the test ends. */
export const startStoreDaemon = (
  t: Ending,
  publicDirectory: string,
  listen = '127.0.0.1:0',
): Promise<Served> => serve(t, 'store', ['store', 'serve', '--dir', publicDirectory, '--listen', listen]);

export interface ServedCache extends Served {
  directory: string;
  /** The body of `/stats`. */
  stats(): Promise<CacheStats>;
  /** The text of `/metrics`. */
  metrics(): Promise<string>;
  /** Process ids of those that answer clients. */
  workers(): number[];
  /** kill -9 of all of its processes, or of its first one, whereupon the others end; returns when all are gone. */
  kill(which: 'all' | 'primary'): Promise<void>;
  /** The most memory that any of its processes has held so far (VmHWM), in MiB. */
  peakMemoryMiB(): Promise<number>;
}

export interface CacheDaemonOptions {
  upstreams: readonly string[];
  directory: string;
  listen?: string;
  /** More settings, by their names in the configuration file. */
  config?: Record<string, unknown>;
}

/** Short deadlines towards upstreams, so that what hangs is passed over within the time a test has. */
const IMPATIENT = { connectSeconds: 1, headerWaitSeconds: 1, stallSeconds: 1 };

/** `pilotage cache serve`; killed when the test ends. */
export async function startCacheDaemon(t: Ending, options: CacheDaemonOptions): Promise<ServedCache> {
  const { upstreams, directory, listen = '127.0.0.1:0', config } = options;
  const place = await makeTemporaryDirectory('cache-config');
  t.after(place.remove);
  const file = join(place.path, 'cache.json');
  await writeFile(file, JSON.stringify({ upstreams, dir: directory, listen, ...IMPATIENT, ...config }));
  const served = await serve(t, 'cache', ['cache', 'serve', '--config', file]);
  const text = async (path: string) => (await request(`${served.url}${path}`)).body.text();
  const workers = () => childrenOf(served.daemon.pid);
  return {
    ...served,
    directory,
    stats: async () => JSON.parse(await text('/stats')) as CacheStats,
    metrics: () => text('/metrics'),
    workers,
    kill: async which => {
      const pids = workers();
      await served.daemon.kill();
      for (const pid of pids) if (which === 'all' && existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
      await waitUntil('its workers are gone', () => pids.every(pid => !existsSync(`/proc/${pid}`)));
    },
    peakMemoryMiB: async () =>
      Math.max(...(await Promise.all([served.daemon.pid, ...workers()].map(peakMiB)))),
  };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return text === '' ? [] : text.split(' ').map(Number);
}

async function peakMiB(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)![1]) / 1024;
}

/** The lines of standard error that are log records; the last one may still be under way. */
function logLines(text: string): LogLine[] {
  return text.split('\n').flatMap(line => {
    try {
      return [JSON.parse(line) as LogLine];
    } catch {
      return [];
    }
  });
}
