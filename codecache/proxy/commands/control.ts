import type { Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { readableBytes } from '../../../lib/byte-size.ts';
import { PilotageError, libError } from '../../../lib/errors.ts';
import { codecacheError } from '../../errors.ts';
import type { VerifyProgress } from '../objects/verify-objects.ts';
import { ControlClient } from '../operations/control-client.ts';
import type { AllStats, Purge, Purged } from '../operations/control-socket.ts';
import { purgeStopped, verifyStopped } from '../operations/offline-control.ts';
import { readCacheStats } from '../operations/read-stats.ts';
import { describeStats } from './describe-stats.ts';

interface DirectoryOptions {
  json?: boolean;
  dir: string;
}
type StatsOptions = { json?: boolean; url?: string; dir?: string; processes?: boolean };
type PurgeOptions = DirectoryOptions & { object?: string; metadata?: boolean; all?: boolean };

/** Mounts what looks after a cache: `pilotage cache stats`, `purge`, `verify`, `drain`, `restart`. */
export function registerControl(cache: Command): void {
  cache
    .command('stats')
    .description('What a running cache counted and holds, and upstreams that were blamed for forged bytes.')
    .option('--url <url>', 'base URL of the cache')
    .option('--dir <directory>', 'in its place the directory of a cache on this machine')
    .option('--processes', 'each process of the cache by itself, too (with --dir)')
    .action(action(stats));
  cache
    .command('purge')
    .description('Remove what a cache keeps, running or not; it is fetched again when it is asked for.')
    .requiredOption('--dir <directory>', 'directory of the cache')
    .option('--object <sha256>', 'one hash-named object')
    .option('--metadata', 'all metadata answers')
    .option('--all', 'all objects and all metadata answers')
    .action(action(purge));
  cache
    .command('verify')
    .description(
      'Hash every object on the disk of a cache again, running or not. Damaged ones are removed and named,\n' +
        'and the exit code is 1.',
    )
    .requiredOption('--dir <directory>', 'directory of the cache')
    .action(action(verify));
  cache
    .command('drain')
    .description('Take a running cache out of service: /readyz says 503, and what still comes is answered.')
    .requiredOption('--dir <directory>', 'directory of the cache')
    .option('--undo', 'put it back in service')
    .action(
      action<DirectoryOptions & { undo?: boolean }>(async options =>
        print(
          await new ControlClient(options.dir).drain(options.undo === true),
          options,
          ({ outOfService }) =>
            outOfService
              ? 'out of service: /readyz says 503, /drainz says 200 once nothing is under way'
              : 'in service again',
        ),
      ),
    );
  cache
    .command('restart')
    .description('Restart a running cache by its configuration as it is now, without a failed request.')
    .requiredOption('--dir <directory>', 'directory of the cache')
    .action(
      action<DirectoryOptions>(async options =>
        print(
          await new ControlClient(options.dir).restart(),
          options,
          ({ processes }) => `restarted with ${processes} ${processes === 1 ? 'process' : 'processes'}`,
        ),
      ),
    );
}

async function stats(options: StatsOptions): Promise<void> {
  const { url, dir, processes } = options;
  if ((url === undefined) === (dir === undefined))
    throw wrongCall('--url, --dir', 'one of them: whose numbers are asked for');
  if (url !== undefined) {
    if (processes === true) throw wrongCall('--processes', '--dir with it: over HTTP there is only the sum');
    return print(await readCacheStats(url), options, describeStats);
  }
  const all = await new ControlClient(dir!).stats();
  if (processes !== true) return print(all.total, options, describeStats);
  print(all, options, describeAll);
}

const describeAll = ({ total, processes }: AllStats): string =>
  [
    describeStats(total),
    ...processes.map(({ pid, stats: own }) => `\nprocess ${pid}\n${describeStats(own)}`),
  ].join('\n');

async function purge(options: PurgeOptions): Promise<void> {
  const { dir } = options;
  const what = readPurge(options);
  const purged = await running(
    () => new ControlClient(dir).purge(what),
    () => purgeStopped(dir, what),
  );
  print(purged, options, ({ objects, answers }: Purged) =>
    'object' in what && objects === 0
      ? `${what.object} was not on disk; no process holds it in memory any more`
      : `removed ${objects} objects and ${answers} metadata answers`,
  );
}

function readPurge({ object, metadata, all }: PurgeOptions): Purge {
  const given = [object !== undefined, metadata === true, all === true].filter(Boolean);
  if (given.length !== 1)
    throw wrongCall('--object, --metadata, --all', 'one of them: what is to be removed');
  if (object === undefined) return metadata === true ? { metadata } : { all: true };
  if (/^[0-9a-f]{64}$/.test(object)) return { object };
  throw libError({
    code: 'E_USAGE',
    message: 'This is no name of an object.',
    where: '--object',
    expected: 'a sha256 in 64 hexadecimal digits',
    found: object,
    fix: 'Take it from the name of the target: targets/…/<sha256>.<name>.',
  });
}

async function verify(options: DirectoryOptions): Promise<void> {
  const { dir } = options;
  const shown = process.stderr.isTTY && options.json !== true;
  let lastMs = 0;
  const onProgress = ({ objects, bytes }: { objects: number; bytes: number }) => {
    if (!shown || performance.now() - lastMs < 200) return;
    lastMs = performance.now();
    process.stderr.write(`\r${objects} objects, ${readableBytes(bytes)} \u001B[K`);
  };
  const report = await running(
    () => new ControlClient(dir).verify(onProgress),
    () => verifyStopped(dir, onProgress),
  ).finally(() => process.stderr.write(shown ? '\r\u001B[K' : ''));
  print(report, options, describeVerify);
  const { damaged, unreadable } = report;
  if (damaged.length + unreadable.length === 0) return;
  throw codecacheError({
    code: 'E_OBJECTS_DAMAGED',
    message: 'Some of what is on the disk of the cache was not what it should be; no client got it.',
    where: dir,
    found: `${damaged.length} damaged and removed, ${unreadable.length} unreadable`,
    fix: 'Check this disk and its file system (dmesg, smartctl); damaged objects are fetched again when they are asked for.',
  });
}

const describeVerify = ({ objects, bytes, damaged, unreadable }: VerifyProgress): string =>
  [
    `${objects} objects, ${readableBytes(bytes)}: ${damaged.length} damaged`,
    ...damaged.map(sha256 => `damaged, removed: ${sha256}`),
    ...unreadable.map(({ sha256, code }) => `unreadable (${code}), left there: ${sha256}`),
  ].join('\n');

/** Over the control socket of the cache that runs, else directly. */
async function running<T>(ask: () => Promise<T>, direct: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof PilotageError && error.code === 'E_UNREACHABLE') return direct();
    throw error;
  }
}

const wrongCall = (where: string, expected: string) =>
  libError({
    code: 'E_USAGE',
    message: 'The call does not say what to do.',
    where,
    expected,
    fix: 'Run with --help to see how it is used.',
  });
