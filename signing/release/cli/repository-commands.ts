import type { Command } from 'commander';
import { action, exitCodes, print } from '../../../lib/cli.ts';
import { loadConfig } from '../../../lib/config.ts';
import { libError } from '../../../lib/errors.ts';
import { ReleaseConfig } from '../../config/schema.ts';
import { resignRole } from '../repository/amend-role.ts';
import { initRepository } from '../repository/init-repository.ts';
import { inspectRepository } from '../repository/inspect-repository.ts';
import { delegatedRoles } from '../layout.ts';
import { publish, type PublishResult } from '../repository/publish.ts';
import { describeLog, describeStatus } from '../repository/report.ts';
import { releaseLog } from '../repository/verify-repository.ts';
import { byPeople, reading, signers, signing, withContext, type RepositoryOptions } from './options.ts';

/** Mounts what concerns the repository as a whole: `init`, `resign`, `publish`, `log`, `verify`. */
export function registerRepositoryCommands(release: Command): void {
  signing(release, 'init', 'Make a repository: keys, root, every role, the queue map; published empty.')
    .option('-c, --config <file>', 'YAML or JSON with numbers of keys, thresholds and periods')
    .action(action(runInit));
  byPeople(release, 'resign <role>', 'Sign a role again before it expires; the content stays.').action(
    action(runResign),
  );
  signing(release, 'publish', 'Make public what is signed; one rename shows it to clients.').action(
    action<RepositoryOptions>(async options => printPublished(options, await withContext(options, publish))),
  );
  reading(release, 'log', 'Show who signed what and when; the whole chain is verified first.').action(
    action<RepositoryOptions>(async options =>
      print(await withContext(options, releaseLog), options, describeLog),
    ),
  );
  reading(
    release,
    'verify',
    'Verify everything in the repository, and say what to do: exit code 1 when something is wrong.',
  ).action(
    action<RepositoryOptions>(async options => {
      const { status, errors } = await withContext(options, inspectRepository);
      print(status, options, describeStatus);
      if (errors.length > 0) process.exitCode = exitCodes.failed;
    }),
  );
}

async function runInit(options: RepositoryOptions & { config?: string }): Promise<void> {
  const { value: config } = await loadConfig({
    schema: ReleaseConfig,
    file: options.config,
    envPrefix: 'PILOTAGE_RELEASE_',
  });
  const made = await withContext(options, context => initRepository({ ...context, config }), config.scryptN);
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
  const result = await withContext(options, context =>
    resignRole({ ...context, ...signers(options), role: known }),
  );
  print(result, options, ({ version, proposed }) =>
    proposed
      ? `Proposed ${role} again as version ${version}; it waits for more signatures. Next: release sign.`
      : `Signed ${role} again as version ${version}. Next: release publish.`,
  );
}

export const printPublished = (options: RepositoryOptions, result: PublishResult) =>
  print(result, options, ({ published, timestamp, snapshot, files }) =>
    published
      ? `Published timestamp ${timestamp}, snapshot ${snapshot}: ${files.join(', ')}.`
      : `Everything is public already (timestamp ${timestamp}, snapshot ${snapshot}).`,
  );
