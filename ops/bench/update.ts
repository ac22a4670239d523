import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import type { Plugin } from 'esbuild';
import { serveStore } from '../../codecache/origin/serve-store.ts';
import { formatError } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import { slimPackages } from '../build/slim-packages.ts';
import { createProgress } from '../site/progress.ts';
import { table } from '../table.ts';
import { startCountingProxy } from './update/counting-proxy.ts';
import { publishForBench } from './update/repository.ts';
import type { Task } from './update/task.ts';

/**
 * `npm run bench:update [-- --json] [--rounds N] [--pilots N] [--runtime-megabytes N]`: our client of the code store side by
 * side with stock tuf-js, on the same repository, taking turns in one run. Each run is a process of its own, bundled as
 * pilots are; its processor time is its own, from the start of Node on. A node that starts many pilots at once shares one
 * store with our client; tuf-js has no lock and writes in place, so there each pilot needs a directory of its own.
 */
const clients = ['ours', 'tufjs'] as const;
type ClientName = (typeof clients)[number];
const kinds = ['warm_refresh', 'cold_install', 'start64'] as const;
type Kind = (typeof kinds)[number];

const checkout = fileURLToPath(new URL('../..', import.meta.url));
const arch = `linux-${process.arch}`;

interface Sample {
  cpuSeconds: number;
  wallSeconds: number;
}
type Samples = Record<Kind, Record<ClientName, Sample[]>>;

/** Each client in one file, ours as the pilot is. */
async function bundleClients(directory: string): Promise<Record<ClientName, string>> {
  const bundle = async (entry: string, plugins: Plugin[]) => {
    const outfile = join(directory, `${entry}.mjs`);
    await build({
      absWorkingDir: checkout,
      entryPoints: [`ops/bench/update/${entry}.ts`],
      outfile,
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'esm',
      target: 'node24',
      legalComments: 'none',
      banner: {
        js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
      },
      plugins,
      logLevel: 'silent',
    });
    return outfile;
  };
  return {
    ours: await bundle('our-client', [slimPackages(checkout)]),
    tufjs: await bundle('tuf-js-client', []),
  };
}

/** One client from its start to its end. */
async function runClient(program: string, task: Task): Promise<Sample> {
  const started = performance.now();
  const child = spawn(process.execPath, [program, JSON.stringify(task)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const said: Record<'out' | 'err', string> = { out: '', err: '' };
  child.stdout.on('data', (text: Buffer) => (said.out += text.toString()));
  child.stderr.on('data', (text: Buffer) => (said.err += text.toString()));
  const timer = setTimeout(() => child.kill('SIGKILL'), 300_000);
  const code = await new Promise(resolve => {
    child.once('close', resolve);
  });
  clearTimeout(timer);
  if (code !== 0) throw new Error(`${program} ended with ${String(code)}: ${said.err.slice(-2000)}`);
  const { cpuSeconds } = JSON.parse(said.out) as { cpuSeconds: number };
  return { cpuSeconds, wallSeconds: (performance.now() - started) / 1000 };
}

/** Many at once on one node that has nothing: processor time of all, wall time until the last has ended. */
async function runMany(count: number, run: (index: number) => Promise<Sample>): Promise<Sample> {
  const started = performance.now();
  const samples = await Promise.all(Array.from({ length: count }, (_, index) => run(index)));
  return {
    cpuSeconds: samples.reduce((sum, { cpuSeconds }) => sum + cpuSeconds, 0),
    wallSeconds: (performance.now() - started) / 1000,
  };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '7' },
      pilots: { type: 'string', default: '64' },
      'runtime-megabytes': { type: 'string', default: '8' },
    },
  });
  const rounds = Number(values.rounds);
  const pilots = Number(values.pilots);
  const progress = createProgress({ quiet: values.json });
  await using cleanup = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-bench-'));
  cleanup.defer(() => rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  const programs = await bundleClients(directory);
  const { publicDirectory, rootFile } = await progress.run('publishing a release', () =>
    publishForBench(join(directory, 'release'), Number(values['runtime-megabytes']), arch),
  );
  const store = await serveStore({ directory: publicDirectory, listen: '127.0.0.1:0', log: silentLog });
  cleanup.defer(() => store.close(0));

  const samples = Object.fromEntries(
    kinds.map(kind => [kind, { ours: [], tufjs: [] }]),
  ) as unknown as Samples;
  const nodeOf = (client: ClientName, name: string) => join(directory, `${client}-${name}`);
  const run = (client: ClientName, name: string, aheadSeconds = 0, url = store.url) =>
    runClient(programs[client], { directory: nodeOf(client, name), url, rootFile, arch, aheadSeconds });
  const clear = (client: ClientName, name: string) => rm(nodeOf(client, name), { recursive: true });

  for (const client of clients) await run(client, 'warm');
  for (let round = 1; round <= rounds; round += 1) {
    // Who begins changes with the round.
    const order = round % 2 === 0 ? clients : clients.toReversed();
    await progress.run(`round ${round} of ${rounds}`, async () => {
      for (const client of order) samples.warm_refresh[client].push(await run(client, 'warm', round * 60));
      for (const client of order) {
        samples.cold_install[client].push(await run(client, 'cold'));
        await clear(client, 'cold');
      }
    });
  }
  for (const round of [1, 2, 3]) {
    const order = round % 2 === 0 ? clients : clients.toReversed();
    for (const client of order) {
      await progress.run(`${pilots} pilots at once, ${round} of 3: ${client}`, async () => {
        const names = (index: number) => (client === 'ours' ? 'many' : `many-${index}`);
        samples.start64[client].push(await runMany(pilots, index => run(client, names(index))));
        for (const name of new Set(Array.from({ length: pilots }, (_, index) => names(index))))
          await clear(client, name);
      });
    }
  }
  const bytes = await countBytes(run, store.url, (rounds + 1) * 60);
  report(values.json, samples, bytes, { rounds, pilots });
}

/** Bytes on the connections of one warm refresh, both ways. */
async function countBytes(
  run: (client: ClientName, name: string, aheadSeconds: number, url: string) => Promise<Sample>,
  url: string,
  aheadSeconds: number,
): Promise<Record<ClientName, number>> {
  const counted = { ours: 0, tufjs: 0 };
  for (const client of clients) {
    const proxy = await startCountingProxy(url);
    await run(client, 'warm', aheadSeconds, proxy.url);
    counted[client] = proxy.bytes();
    await proxy.close();
  }
  return counted;
}

function report(
  json: boolean,
  samples: Samples,
  bytes: Record<ClientName, number>,
  runs: { rounds: number; pilots: number },
): void {
  const of = (kind: Kind, client: ClientName, what: keyof Sample) =>
    median(samples[kind][client].map(sample => sample[what]));
  const measured = Object.fromEntries(
    kinds.map(kind => [
      kind,
      Object.fromEntries(
        clients.map(client => [
          client,
          { cpuSeconds: of(kind, client, 'cpuSeconds'), wallSeconds: of(kind, client, 'wallSeconds') },
        ]),
      ),
    ]),
  );
  const ratio = (kind: Kind, what: keyof Sample) => of(kind, 'ours', what) / of(kind, 'tufjs', what);
  const ratios = {
    ...Object.fromEntries(kinds.map(kind => [`${kind}_vs_tufjs`, ratio(kind, 'cpuSeconds')])),
    ...Object.fromEntries(kinds.map(kind => [`${kind}_wall_vs_tufjs`, ratio(kind, 'wallSeconds')])),
    warm_refresh_bytes_vs_tufjs: bytes.ours / bytes.tufjs,
  };
  if (json) {
    const result = {
      measured,
      ratios,
      warm_refresh_bytes: bytes.ours,
      tufjs_warm_refresh_bytes: bytes.tufjs,
      ...runs,
    };
    process.stdout.write(JSON.stringify(result) + '\n');
    return;
  }
  const titles: Record<Kind, string> = {
    warm_refresh: 'warm refresh',
    cold_install: 'cold install',
    start64: `${runs.pilots} pilots at once, cold`,
  };
  const rows = kinds.flatMap(kind =>
    (['cpuSeconds', 'wallSeconds'] as const).map(what => [
      `${titles[kind]}, ${what === 'cpuSeconds' ? 'processor' : 'wall'}`,
      `${of(kind, 'ours', what).toFixed(3)} s`,
      `${of(kind, 'tufjs', what).toFixed(3)} s`,
      ratio(kind, what).toFixed(2),
    ]),
  );
  rows.push([
    'warm refresh, bytes on the wire',
    String(bytes.ours),
    String(bytes.tufjs),
    ratios.warm_refresh_bytes_vs_tufjs.toFixed(2),
  ]);
  process.stdout.write(`${table(['medians', 'ours', 'tuf-js', 'ours / tuf-js'], rows)}\n`);
}

try {
  await main();
} catch (error) {
  process.stderr.write(formatError(error) + '\n');
  process.exitCode = 1;
}
