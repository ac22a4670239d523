import type { Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { systemClock } from '../../../lib/clock.ts';
import { libError } from '../../../lib/errors.ts';
import { readFileBounded } from '../../../lib/files.ts';
import { createLog } from '../../../lib/log.ts';
import { Shutdown } from '../../../lib/shutdown.ts';
import type { CopyResult } from '../mirror/copy-public.ts';
import { exportTree } from '../mirror/export.ts';
import { publicSource } from '../mirror/public-source.ts';
import { raisePast, recoverRepository, type RecoverResult } from '../mirror/recover.ts';
import { syncMirror, type MirrorOptions, type MirrorResult } from '../mirror/sync-mirror.ts';
import type { ReleaseContext } from '../repository/repository.ts';
import { openStorage } from '../storage/open-storage.ts';
import { collect, letOthersRead, reading, withContext, type RepositoryOptions } from './options.ts';

interface MirrorFlags {
  json?: boolean;
  from: string[];
  to: string;
  root: string;
  intervalSeconds?: number;
}

/** Mounts what brings the public tree elsewhere and back: `export`, `mirror sync`, `recover`. */
export function registerMirrorCommands(release: Command): void {
  reading(
    release,
    'export <directory>',
    'Write the public tree as static files for any web server; run it after each publish and refresh.',
  ).action(
    action<RepositoryOptions>(async (options, directory = '') =>
      print(await withContext(options, context => exportTree({ ...context, directory })), options, describe),
    ),
  );
  reading(
    release,
    'recover',
    'After a loss or a restored backup: take back what is public elsewhere, or go past what clients have seen.',
  )
    .option('--from <address>', 'a mirror or store that was not restored: URL, or directory with its files')
    .option(
      '--past <numbers>',
      'when nothing newer is left: timestamp=120,snapshot=14,stable=9,stable.serial=7',
    )
    .action(action(runRecover));
  const mirror = release.command('mirror').description('Verified copies of a repository elsewhere.');
  mirror
    .command('sync')
    .description('Bring a mirror up to date with a store; serve it with "store serve --dir <place>/public".')
    .requiredOption('--from <url>', 'store, or directory with its files; repeat for more, in order', collect)
    .requiredOption('--to <place>', 'the mirror: a directory, or a database of its own; made when missing')
    .requiredOption('--root <file>', 'pinned root: metadata/1.root.json of the repository')
    .option('--interval-seconds <n>', 'do it again and again, until SIGTERM', Number)
    .action(action(runMirror));
}

async function runRecover(options: RepositoryOptions & { from?: string; past?: string }): Promise<void> {
  const { from, past } = options;
  if (from !== undefined && past === undefined) {
    const recover = (context: ReleaseContext) => recoverRepository({ ...context, from: publicSource(from) });
    return print(await withContext(options, recover), options, describeRecovery);
  }
  if (past !== undefined && from === undefined) {
    const raise = (context: ReleaseContext) => raisePast({ ...context, past });
    return print(await withContext(options, raise), options, ({ past: numbers }) =>
      [
        `The next numbers are higher than ${JSON.stringify(numbers)}.`,
        'Sign the roles that are named again (release resign ROLE), move channels whose serial is named, then release publish.',
      ].join('\n'),
    );
  }
  throw libError({
    code: 'E_USAGE',
    message: 'Recover from where?',
    where: 'release recover',
    expected: 'one of --from ADDRESS and --past NUMBERS',
    fix: 'Name a mirror; only when there is none, the numbers that clients have seen.',
  });
}

async function runMirror(options: MirrorFlags): Promise<void> {
  const interval = options.intervalSeconds;
  if (interval !== undefined && !(interval >= 1 && interval <= 86_400)) {
    throw libError({
      code: 'E_USAGE',
      message: 'This is no interval.',
      where: '--interval-seconds',
      expected: '1 to 86400',
      found: String(interval),
      fix: 'Correct the number.',
    });
  }
  const trustedRoot = await readFileBounded(options.root);
  letOthersRead();
  const to = await openStorage(options.to, 'make');
  try {
    const mirror: MirrorOptions = {
      sources: options.from.map(publicSource),
      to,
      trustedRoot,
      clock: systemClock,
      onStep:
        process.stderr.isTTY && !options.json ? step => void process.stderr.write(`  ${step}\n`) : undefined,
    };
    if (interval === undefined) print(await syncMirror(mirror), options, describeMirror);
    else await keepInStep(mirror, interval);
  } finally {
    await to.close();
  }
}

/** Syncs until the process is told to end; a round that fails is logged, and the next one tries again. */
async function keepInStep(mirror: MirrorOptions, intervalSeconds: number): Promise<void> {
  const log = createLog('mirror');
  const shutdown = new Shutdown({ log }).listen();
  const ended = Promise.withResolvers<void>();
  shutdown.defer('mirror', () => ended.promise);
  try {
    process.stdout.write(JSON.stringify({ ready: true, program: 'mirror', to: mirror.to.name }) + '\n');
    while (!shutdown.signal.aborted) {
      try {
        const { files, refusals, ...versions } = await syncMirror(mirror);
        log.info({ ...versions, files: files.length, refusals }, 'mirror is in step');
      } catch (error) {
        log.error({ err: error }, 'mirror could not be brought up to date; what it has stays');
      }
      await systemClock.sleep(intervalSeconds * 1000, shutdown.signal).catch(() => undefined);
    }
    await mirror.to.close();
  } finally {
    ended.resolve();
  }
}

const describe = ({ changed, timestamp, snapshot, files }: CopyResult): string =>
  changed
    ? `Copied up to timestamp ${timestamp}, snapshot ${snapshot}: ${files.length} files.`
    : `Everything is there already (timestamp ${timestamp}, snapshot ${snapshot}).`;

const describeRecovery = ({ setAside, dropped, ...result }: RecoverResult): string =>
  [
    describe(result),
    ...(setAside === null ? [] : [`  lines of our log that are not public lie in ${setAside}`]),
    ...dropped.map(line => `  dropped ${line}`),
    'Next: release verify, release publish.',
  ].join('\n');

const describeMirror = (result: MirrorResult): string =>
  [describe(result), ...result.refusals.map(({ code, where }) => `  refused: ${code} ${where}`)].join('\n');
