import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import { action, collect, print } from '../../lib/cli.ts';
import { systemClock } from '../../lib/clock.ts';
import { readFileBounded } from '../../lib/files.ts';
import { createLog } from '../../lib/log.ts';
import { CacheGroup, cacheGroupRule } from '../../lib/protocol/release.ts';
import { Shutdown } from '../../lib/shutdown.ts';
import type { Progress } from './download.ts';
import { fetchRelease } from './fetch-release.ts';
import type { FetchedRelease } from './fetch-release.ts';
import { withNodeLock } from './node-lock.ts';
import { checkStoreDirectory } from './node-store.ts';
import { DEFAULT_STORE_BYTES, pruneStore } from './prune-store.ts';
import type { Pruned } from './prune-store.ts';
import { storeContents } from './store-contents.ts';
import type { StoreEntry } from './store-contents.ts';

interface StoreFlags {
  json?: boolean;
  store: string;
}

interface FetchFlags extends StoreFlags {
  root: string;
  cache: string[];
  queue: string;
  arch?: string;
  site?: string;
  node?: string;
  patienceSeconds?: number;
  offlineGraceSeconds?: number;
  maxBytes?: number;
}

/** Mounts what a worker node does: `pilotage cache fetch`, `list` and `prune`. */
export function registerClient(cache: Command): void {
  cache
    .command('fetch')
    .description("Download and verify the release that a queue's channel names, as a worker node does.")
    .requiredOption('--root <file>', 'pinned root: metadata/1.root.json of the repository')
    .requiredOption(
      '--cache <urls>',
      "cache or origin, also through a site's proxy as 'http://squid:3128>http://store:8090'; a group of them as 'http://a|http://b': any of these; repeat for more groups, in order",
      collectGroups,
    )
    .requiredOption('--queue <name>', 'queue whose channel is followed')
    .requiredOption('--store <directory>', 'node-local store, mode 0700; made when missing')
    .option('--arch <name>', "architecture of the runtime (default: this machine's)")
    .option('--site <name>', 'site of the queue, for rollouts (default none)')
    .option('--node <name>', "name of the node, for rollouts (default: this machine's)")
    .option('--patience-seconds <n>', 'go on for so long when no cache answers (default 30)', wholeNumber)
    .option(
      '--offline-grace-seconds <n>',
      'when no cache gives a valid refresh, start what is kept if it expired no longer ago (default 0: never)',
      wholeNumber,
    )
    .option('--max-bytes <n>', 'quota of the store (default 2 GiB)', wholeNumber)
    .action(action(runFetch));
  cache
    .command('list')
    .description("What a node's store holds, and what must stay there.")
    .requiredOption('--store <directory>', 'node-local store')
    .action(action(runList));
  cache
    .command('prune')
    .description(
      "Bring a node's store under its quota: least recently used first, never what a channel names or a pilot uses.",
    )
    .requiredOption('--store <directory>', 'node-local store')
    .option('--max-bytes <n>', 'quota (default 2 GiB)', wholeNumber)
    .action(action(runPrune));
}

export function collectGroups(value: string, previous: string[] | undefined): string[] {
  if (CacheGroup.safeParse(value).success) return collect(value, previous);
  throw new InvalidArgumentError(`Expected ${cacheGroupRule}.`);
}

function wholeNumber(value: string): number {
  if (/^\d{1,15}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('Expected a whole number from 0 on.');
}

async function runFetch(options: FetchFlags): Promise<void> {
  const log = createLog('cache-fetch');
  const shutdown = new Shutdown({ log }).listen({ endedCode: 130 });
  const { arch, site, node, patienceSeconds, offlineGraceSeconds, maxBytes } = options;
  const fetched = await fetchRelease({
    trustedRoot: await readFileBounded(options.root),
    storeDirectory: options.store,
    caches: options.cache,
    queue: options.queue,
    log,
    signal: shutdown.signal,
    ...(process.stderr.isTTY && { onProgress: showProgress() }),
    ...(arch !== undefined && { arch }),
    ...(site !== undefined && { site }),
    ...(node !== undefined && { node }),
    ...(patienceSeconds !== undefined && { patienceSeconds }),
    ...(offlineGraceSeconds !== undefined && { offlineGraceSeconds }),
    ...(maxBytes !== undefined && { maxStoreBytes: maxBytes }),
  });
  print(fetched, options, describeFetched);
}

async function runList(options: StoreFlags): Promise<void> {
  await checkStoreDirectory(options.store);
  print(await storeContents(options.store, systemClock.now()), options, describeContents);
}

async function runPrune(options: StoreFlags & { maxBytes?: number }): Promise<void> {
  const { store: directory, maxBytes = DEFAULT_STORE_BYTES } = options;
  const log = createLog('cache-prune');
  const shutdown = new Shutdown({ log }).listen({ endedCode: 130 });
  await checkStoreDirectory(directory);
  const lock = { storeDirectory: directory, clock: systemClock, signal: shutdown.signal };
  const pruned = await withNodeLock(lock, () => pruneStore({ directory, maxBytes, clock: systemClock, log }));
  print(pruned, options, describePruned);
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

/** One line for each archive, renewed with each tenth of it. */
function showProgress(): (progress: Progress) => void {
  let shown = '';
  return ({ path, bytes, length }) => {
    const tenths = `${path} ${Math.floor((10 * bytes) / length)}`;
    if (tenths === shown) return;
    shown = tenths;
    const name = path.replace(/^.*\/([0-9a-f]{64}\.)?/, '');
    const end = bytes === length ? '\n' : '';
    process.stderr.write(`\r  ${name}: ${megabytes(bytes)} of ${megabytes(length)}${end}`);
  };
}

function describeFetched(fetched: FetchedRelease): string {
  const { release, pilotDirectory, runtimeDirectory, cache, refusals, offline } = fetched;
  const versions = Object.entries(release.metadata).map(([role, version]) => `${role} ${version}`);
  return [
    `pilot ${release.version}, sha256 ${release.sha256}`,
    `  ${pilotDirectory}`,
    `runtime ${release.runtimeVersion}`,
    `  ${runtimeDirectory}`,
    `channel ${release.channel}, serial ${release.channelSerial}, verified through ${cache}`,
    `signed metadata: ${versions.join(', ')}`,
    ...refusals.map(({ cache, code, where }) => `refused: ${cache} (${code} ${where})`),
    ...(offline === undefined
      ? []
      : [`not checked for ${offline.sinceSeconds} s, by the grace that was given: ${offline.reason}`]),
  ].join('\n');
}

function describeContents(entries: StoreEntry[]): string {
  const total = entries.reduce((sum, { bytes }) => sum + bytes, 0);
  return [
    ...entries.map(
      ({ path, bytes, usedMs, keptBecause }) =>
        `${path}  ${megabytes(bytes)}  used ${new Date(usedMs).toISOString()}  ${keptBecause ?? 'may be removed'}`,
    ),
    `${entries.length} entries, ${megabytes(total)}`,
  ].join('\n');
}

const describePruned = ({ removed, bytes }: Pruned): string =>
  [
    ...removed.map(({ path, bytes }) => `removed ${path}  ${megabytes(bytes)}`),
    `${removed.length} removed, ${megabytes(bytes)} left`,
  ].join('\n');
