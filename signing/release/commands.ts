import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { action, print } from '../../lib/cli.ts';
import { systemClock } from '../../lib/clock.ts';
import { loadConfig } from '../../lib/config.ts';
import { libError } from '../../lib/errors.ts';
import { ReleaseConfig } from '../config/schema.ts';
import { openKeyDirectory } from '../keys/key-directory.ts';
import { passphraseSource } from '../keys/passphrase.ts';
import { addRelease, addRuntime, type AddResult } from './add-release.ts';
import { resignRole } from './amend-role.ts';
import { initRepository } from './init-repository.ts';
import { delegatedRoles } from './layout.ts';
import { isChannel, promote, setQueueChannel } from './promote.ts';
import { publish, refresh, type PublishResult } from './publish.ts';
import { readState, type ReleaseContext } from './repository.ts';
import { fileStorage } from './storage/file-storage.ts';
import { describeLog, describeStatus } from './report.ts';
import { releaseLog, verifyRepository } from './verify-repository.ts';

interface RepositoryOptions {
  json?: boolean;
  repo: string;
  keys?: string;
  passphraseFile?: string;
  passphraseDir?: string;
  key?: string[];
}

const collect = (value: string, previous: string[] | undefined): string[] => [...(previous ?? []), value];

/** Mounts `pilotage release …`: what release managers do. */
export function registerRelease(program: Command): void {
  const release = program
    .command('release')
    .description(
      'Sign and publish pilot releases (TUF): each role has its own keys, and a channel moves by signatures alone.\n' +
        'Passphrases come from --passphrase-dir, --passphrase-file, PILOTAGE_PASSPHRASE_FILE or a prompt.',
    );
  const reading = (name: string, description: string) =>
    release
      .command(name)
      .description(description)
      .requiredOption('-r, --repo <dir>', 'the release repository');
  const signing = (name: string, description: string) =>
    reading(name, description)
      .requiredOption('-k, --keys <dir>', 'directory of key files, one per key')
      .option('--passphrase-file <file>', 'first line is the passphrase; mode 0600')
      .option('--passphrase-dir <dir>', 'one passphrase file per key name; falls back to --passphrase-file');
  const byPeople = (name: string, description: string) =>
    signing(name, description).option(
      '--key <name>',
      'who signs; repeat for more (default: as many of the keys that are here as the role needs)',
      collect,
    );

  signing('init', 'Make a repository: keys, root, every role, the queue map; published empty.')
    .option('-c, --config <file>', 'YAML or JSON with numbers of keys, thresholds and periods')
    .action(action(runInit));
  byPeople(
    'add <tarball>',
    'Sign a pilot tarball (pilot.mjs and manifest.json inside) into the role releases.',
  ).action(
    action<RepositoryOptions>(async (options, tarball) =>
      printAdded(
        options,
        await addRelease({ ...(await contextOf(options)), ...signers(options), tarball: tarball ?? '' }),
      ),
    ),
  );
  byPeople('runtime <tarball>', 'Sign a Node runtime (bin/node inside) into the role releases.')
    .requiredOption('--node-version <version>', 'version of Node, for example 26.10.0')
    .requiredOption('--arch <arch>', 'linux-x64 or linux-arm64')
    .action(
      action<RepositoryOptions & { nodeVersion: string; arch: string }>(async (options, tarball) =>
        printAdded(
          options,
          await addRuntime({
            ...(await contextOf(options)),
            ...signers(options),
            tarball: tarball ?? '',
            version: options.nodeVersion,
            arch: options.arch,
          }),
        ),
      ),
    );
  byPeople(
    'promote <version|channel> <channel>',
    'Point a channel at a release, or at what another channel has.',
  )
    .option('--runtime <version>', 'Node runtime to go with it (default: the newest of each architecture)')
    .action(action(runPromote));
  byPeople(
    'queue <queue> <channel>',
    'Say which channel a queue follows; QUEUE "default" means all others.',
  ).action(action(runQueue));
  byPeople('resign <role>', 'Sign a role again before it expires; the content stays.').action(
    action(runResign),
  );
  signing('publish', 'Make public what is signed; one rename shows it to clients.').action(
    action<RepositoryOptions>(async options =>
      printPublished(options, await publish(await contextOf(options))),
    ),
  );
  signing('refresh', 'Sign timestamp again, and snapshot when due; for cron, every 30 to 60 minutes.').action(
    action<RepositoryOptions>(async options =>
      printPublished(options, await refresh(await contextOf(options))),
    ),
  );
  reading('log', 'Show who signed what and when; the whole chain is verified first.').action(
    action<RepositoryOptions>(async options =>
      print(await releaseLog(await contextOf(options)), options, describeLog),
    ),
  );
  reading('verify', 'Verify everything in the repository, and say which roles must be signed again.').action(
    action<RepositoryOptions>(async options =>
      print(await verifyRepository(await contextOf(options)), options, describeStatus),
    ),
  );
}

async function runInit(options: RepositoryOptions & { config?: string }): Promise<void> {
  const { value: config } = await loadConfig({
    schema: ReleaseConfig,
    file: options.config,
    envPrefix: 'PILOTAGE_RELEASE_',
  });
  const made = await initRepository({ ...(await contextOf(options, config.scryptN)), config });
  print(made, options, result =>
    [
      `Made the repository ${result.repository}.`,
      `  public files: ${result.publicDirectory} (serve this: pilotage store serve)`,
      `  root to pin:  ${result.rootFile}`,
      `  keys made:    ${result.keysCreated.join(', ') || 'none'}`,
      ...(result.keysReused.length ? [`  keys reused:  ${result.keysReused.join(', ')}`] : []),
      'Move the key files to the people who own them, and keep root and targets keys offline.',
    ].join('\n'),
  );
}

async function runPromote(
  options: RepositoryOptions & { runtime?: string },
  what?: string,
  channel?: string,
): Promise<void> {
  const result = await promote({
    ...(await contextOf(options)),
    ...signers(options),
    ...(isChannel(what!) ? { fromChannel: what } : { version: what! }),
    ...(options.runtime === undefined ? {} : { runtimeVersion: options.runtime }),
    channel: channel!,
  });
  print(result, options, ({ channel, version, serial, previous, runtimes, promoted }) =>
    promoted
      ? `Channel ${channel} points at ${version} with Node ${Object.values(runtimes).join(', ')} ` +
        `(serial ${serial}, before: ${previous ?? 'nothing'}). Next: release publish.`
      : `Channel ${channel} points at ${version} already (serial ${serial}); nothing was signed.`,
  );
}

async function runQueue(options: RepositoryOptions, queue?: string, channel?: string): Promise<void> {
  const context = { ...(await contextOf(options)), ...signers(options) };
  const result = await setQueueChannel({ ...context, queue: queue!, channel: channel! });
  print(result, options, ({ serial, changed }) =>
    changed
      ? `Queue ${queue} follows ${channel} (queue map serial ${serial}). Next: release publish.`
      : `Queue ${queue} is set so already; nothing was signed.`,
  );
}

async function runResign(options: RepositoryOptions, role?: string): Promise<void> {
  const roles = ['root', 'targets', ...delegatedRoles] as const;
  const known = roles.find(name => name === role);
  if (!known) {
    throw libError({
      code: 'E_USAGE',
      message: `There is no role "${role}" that people sign.`,
      where: 'role',
      expected: roles.join(', '),
      fix: 'Name one of these; snapshot and timestamp are signed by "release refresh".',
    });
  }
  const result = await resignRole({ ...(await contextOf(options)), ...signers(options), role: known });
  print(
    result,
    options,
    ({ version }) => `Signed ${role} again as version ${version}. Next: release publish.`,
  );
}

const printAdded = (options: RepositoryOptions, result: AddResult) =>
  print(result, options, ({ added, path, sha256, releases }) =>
    added
      ? `Signed ${path} (sha256 ${sha256}) into releases version ${releases}. Next: release promote, release publish.`
      : `${path} is there already with the same bytes; nothing was signed.`,
  );

const printPublished = (options: RepositoryOptions, result: PublishResult) =>
  print(result, options, ({ published, timestamp, snapshot, files }) =>
    published
      ? `Published timestamp ${timestamp}, snapshot ${snapshot}: ${files.join(', ')}.`
      : `Everything is public already (timestamp ${timestamp}, snapshot ${snapshot}).`,
  );

const signers = (options: RepositoryOptions) => (options.key === undefined ? {} : { keyNames: options.key });

async function contextOf(options: RepositoryOptions, scryptN?: number): Promise<ReleaseContext> {
  const storage = fileStorage(options.repo);
  if (scryptN === undefined) await readState(storage);
  const interactive = process.stdin.isTTY && process.stderr.isTTY;
  return {
    storage,
    clock: systemClock,
    actor: userInfo().username,
    keys: openKeyDirectory({
      directory: options.keys ?? options.repo,
      clock: systemClock,
      scryptN,
      passphrases: passphraseSource({
        directory: options.passphraseDir,
        file: options.passphraseFile ?? process.env.PILOTAGE_PASSPHRASE_FILE,
        terminal: interactive ? { input: process.stdin, output: process.stderr } : undefined,
      }),
    }),
    onStep:
      process.stderr.isTTY && !options.json ? step => void process.stderr.write(`  ${step}\n`) : undefined,
  };
}
