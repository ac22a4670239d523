import { InvalidArgumentError, type Command } from 'commander';
import { action, print } from '../../../lib/cli.ts';
import { libError } from '../../../lib/errors.ts';
import { addRelease, addRuntime, type AddResult } from '../builds/add-release.ts';
import { addFromGit } from '../builds/add-from-git.ts';
import { byPeople, collect, given, signers, withContext, type RepositoryOptions } from './options.ts';

/** Mounts what puts builds into the role releases: `add`, `runtime`. */
export function registerBuildCommands(release: Command): void {
  byPeople(
    release,
    'add [tarball]',
    'Sign a pilot (pilot.mjs and manifest.json inside) into the role releases: a tarball, or the tree of a git tag.',
  )
    .option('--git <dir>', 'build from this git repository, in the place of a tarball')
    .option('--tag <tag>', 'with --git: the tag; v1.2.3 makes the version 1.2.3')
    .option('--path <dir>', 'with --git: where pilot.mjs is in the tree (default: its root)')
    .option(
      '--build <command>',
      'with --git: shell command run first, in a fresh export of the tree; runs code of the repository as you',
    )
    .option('--build-seconds <n>', 'deadline of --build (default: 600)', seconds)
    .option('--verify-tag', 'with --git: take only a tag with a good signature')
    .option('--attach <file>', 'sign this file beside it (SBOM, provenance); repeat for more', collect)
    .action(action(runAdd));
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

interface AddFlags extends RepositoryOptions {
  git?: string;
  tag?: string;
  path?: string;
  build?: string;
  buildSeconds?: number;
  verifyTag?: boolean;
  attach?: string[];
}

async function runAdd(options: AddFlags, tarball?: string): Promise<void> {
  const { git, tag, path, build, buildSeconds, verifyTag, attach } = options;
  const forGit = { tag, path, build, buildSeconds, verifyTag };
  const alone = Object.entries(forGit).find(([, value]) => git === undefined && value !== undefined)?.[0];
  if ((git === undefined) === (tarball === undefined) || alone !== undefined || (git && !tag)) {
    throw libError({
      code: 'E_USAGE',
      message: alone ? `The option for "${alone}" goes with --git.` : 'Name what to add, in one way.',
      where: 'release add',
      expected: 'TARBALL, or --git DIR --tag TAG',
      fix: 'Give a tarball, or a git repository and one of its tags.',
    });
  }
  const result = await withContext(options, context => {
    const common = { ...context, ...signers(options), attach: attach ?? [] };
    if (git === undefined) return addRelease({ ...common, tarball: tarball! });
    return addFromGit({ ...common, git, tag: tag!, ...given({ path, build, buildSeconds, verifyTag }) });
  });
  printAdded(options, result);
}

const printAdded = (options: RepositoryOptions, result: AddResult) =>
  print(result, options, ({ added, path, sha256, commit, attached, releases, proposed }) => {
    const beside = attached.length ? `, beside it ${attached.join(', ')}` : '';
    const from = commit === null || commit === 'unknown' ? '' : `, commit ${commit}`;
    if (!added && !attached.length)
      return `${path} is there already with the same bytes; nothing was signed.`;
    const what = added ? `${path} (sha256 ${sha256}${from})${beside}` : attached.join(', ');
    if (proposed)
      return `Proposed ${what} for releases version ${releases}; it waits for more signatures. Next: release sign.`;
    const next = added ? 'release promote, release publish' : 'release publish';
    return `Signed ${what} into releases version ${releases}. Next: ${next}.`;
  });

function seconds(value: string): number {
  if (/^[1-9][0-9]{0,4}$/.test(value)) return Number(value);
  throw new InvalidArgumentError('It is a whole number of seconds from 1 to 99999.');
}
