import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { action, print } from '../../lib/cli.ts';
import { libError } from '../../lib/errors.ts';
import { byPeople, signers, withContext, type RepositoryOptions } from '../release/cli/options.ts';
import { publish } from '../release/repository/publish.ts';
import { buildBundle, type BuiltBundle } from './build-bundle.ts';
import type { Issue } from './check-file.ts';
import { stageBundle } from './publish-bundle.ts';
import { installBundle } from './unpack-bundle.ts';

interface SourceOptions {
  json?: boolean;
  certificates?: string;
  vomsdir?: string;
  policy?: string;
  builtAt?: string;
}

/** Mounts `pilotage trust …`: authorities, revocation lists, VOMS servers and policy for bare nodes. */
export function registerTrust(program: Command): void {
  const trust = program
    .command('trust')
    .description('Trust anchors for nodes that have none: bundled, signed into the code store, installed.');
  const sources = (command: Command) =>
    command
      .option(
        '--certificates <dir>',
        'grid certificate directory: <hash>.0, .signing_policy, .namespaces, .r0',
      )
      .option('--vomsdir <dir>', 'VOMS servers: <vo>/<host>.lsc')
      .option('--policy <dir>', 'VO policy: *.json')
      .option(
        '--built-at <time>',
        'time in the manifest, ISO 8601 (default: now); the same gives the same bytes',
      );
  sources(
    trust.command('bundle').description('Check everything and pack it; what is wrong is named, all of it.'),
  )
    .requiredOption('--out <file>', 'where the .tar.gz goes')
    .action(action<SourceOptions & { out: string }>(runBundle));
  sources(
    byPeople(
      trust,
      'publish',
      'Sign a bundle into the role trust and publish it, timestamp and snapshot with it.',
    ),
  )
    .option('--bundle <file>', 'a bundle made before; else it is made of the directories')
    .option('--stage-only', 'leave it to the next "release publish"')
    .action(action<RepositoryOptions & SourceOptions & { bundle?: string; stageOnly?: boolean }>(runPublish));
  trust
    .command('install')
    .description('Install a bundle from a file, at once and whole; programs read DIR/current/certificates.')
    .requiredOption('--bundle <file>', 'the .tar.gz')
    .requiredOption('--dir <dir>', 'where to; made when missing')
    .action(
      action<{ json?: boolean; bundle: string; dir: string }>(async options => {
        const installed = await installBundle(options.bundle, options.dir);
        print(installed, options, ({ certificates, vomsdir }) =>
          [`export X509_CERT_DIR=${certificates}`, `export X509_VOMS_DIR=${vomsdir}`].join('\n'),
        );
      }),
    );
}

async function runBundle(options: SourceOptions & { out: string }): Promise<void> {
  print(await bundleOf(options, options.out), options, describe);
}

async function bundleOf(options: SourceOptions, out: string): Promise<BuiltBundle> {
  const { certificates, vomsdir, policy, builtAt } = options;
  if (certificates === undefined) throw usage('There is nothing to bundle.', '--certificates', 'a directory');
  const builtAtMs = builtAt === undefined ? Date.now() : Date.parse(builtAt);
  if (Number.isNaN(builtAtMs))
    throw usage('This is no time.', '--built-at', 'for example 2026-11-22T00:00:00Z');
  const built = await buildBundle({ certificates, vomsdir, policy, out, builtAtMs });
  tell(built.warnings, options);
  return built;
}

async function runPublish(
  options: RepositoryOptions & SourceOptions & { bundle?: string; stageOnly?: boolean },
): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'pilotage-trust-'));
  try {
    const made =
      options.bundle === undefined ? await bundleOf(options, join(work, 'bundle.tar.gz')) : undefined;
    const bundle = options.bundle ?? made!.file;
    const result = await withContext(options, async context => {
      const staged = await stageBundle({ ...context, ...signers(options), bundle });
      tell(staged.warnings, options);
      const warnings = [...(made?.warnings ?? []), ...staged.warnings];
      if (options.stageOnly === true || staged.proposed) return { ...staged, published: false, warnings };
      await publish(context);
      return { ...staged, published: true, warnings };
    });
    print(result, options, ({ manifest, sha256, trust, proposed, published }) =>
      [
        `${manifest.authorities} authorities, ${manifest.crls} revocation lists, ${manifest.lscFiles} VOMS servers`,
        `sha256 ${sha256}, role trust version ${trust}, ${proposed ? 'waits for more signatures (release sign)' : published ? 'published' : 'staged'}`,
        `bundle again before ${manifest.nextUpdate ?? 'the role trust expires'}`,
      ].join('\n'),
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

function describe({ file, sha256, bytes, manifest }: BuiltBundle): string {
  const { authorities, crls, lscFiles, vos, policies, nextUpdate } = manifest;
  return [
    `${file}: ${bytes} bytes, sha256 ${sha256}`,
    `${authorities} authorities, ${crls} revocation lists, ${lscFiles} VOMS servers of ${vos.length} VOs, ${policies} policies`,
    `the first revocation list runs out: ${nextUpdate ?? 'never'}`,
  ].join('\n');
}

const describeIssue = ({ file, problem, fix }: Issue): string => `warning: ${file}: ${problem}. ${fix}`;

function tell(warnings: readonly Issue[], { json }: { json?: boolean | undefined }): void {
  if (!json) for (const warning of warnings) process.stderr.write(`${describeIssue(warning)}\n`);
}

const usage = (message: string, where: string, expected: string) =>
  libError({ code: 'E_USAGE', message, where, expected, fix: 'See --help.' });
