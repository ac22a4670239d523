import type { Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { addRelease, addRuntime, type AddResult } from '../add-release.ts';
import { byPeople, signers, withContext, type RepositoryOptions } from './options.ts';

/** Mounts what puts builds into the role releases: `add`, `runtime`. */
export function registerBuildCommands(release: Command): void {
  byPeople(
    release,
    'add <tarball>',
    'Sign a pilot tarball (pilot.mjs and manifest.json inside) into the role releases.',
  ).action(
    action<RepositoryOptions>(async (options, tarball) =>
      printAdded(
        options,
        await withContext(options, context =>
          addRelease({ ...context, ...signers(options), tarball: tarball ?? '' }),
        ),
      ),
    ),
  );
  byPeople(release, 'runtime <tarball>', 'Sign a Node runtime (bin/node inside) into the role releases.')
    .requiredOption('--node-version <version>', 'version of Node, for example 26.10.0')
    .requiredOption('--arch <arch>', 'linux-x64 or linux-arm64')
    .action(
      action<RepositoryOptions & { nodeVersion: string; arch: string }>(async (options, tarball) =>
        printAdded(
          options,
          await withContext(options, context =>
            addRuntime({
              ...context,
              ...signers(options),
              tarball: tarball ?? '',
              version: options.nodeVersion,
              arch: options.arch,
            }),
          ),
        ),
      ),
    );
}

const printAdded = (options: RepositoryOptions, result: AddResult) =>
  print(result, options, ({ added, path, sha256, releases }) =>
    added
      ? `Signed ${path} (sha256 ${sha256}) into releases version ${releases}. Next: release promote, release publish.`
      : `${path} is there already with the same bytes; nothing was signed.`,
  );
