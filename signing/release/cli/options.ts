import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { systemClock } from '../../../lib/clock.ts';
import { keyRingOf } from '../../keys/commands.ts';
import { readState, type ReleaseContext } from '../repository/repository.ts';
import { openStorage } from '../storage/open-storage.ts';
import type { Storage } from '../storage/storage.ts';

/** What commands on a repository are given; those of signing commands are set only there. */
export interface RepositoryOptions {
  json?: boolean;
  repo: string;
  keys?: string;
  passphraseFile?: string;
  passphraseDir?: string;
  key?: string[];
  propose?: boolean;
}

/** For options that can be repeated. */
export const collect = (value: string, previous: string[] | undefined): string[] => [
  ...(previous ?? []),
  value,
];

const REPO_HELP =
  'the release repository: a directory, sqlite:<path> or postgres://user@host/database?passwordFile=<file>';

/** A command that only looks at a repository. */
export const reading = (parent: Command, name: string, description: string): Command =>
  parent.command(name).description(description).requiredOption('-r, --repo <place>', REPO_HELP);

/** A command that signs with whatever keys it needs. */
export const signing = (parent: Command, name: string, description: string): Command =>
  reading(parent, name, description)
    .requiredOption('-k, --keys <dir>', 'directory of key files, one per key')
    .option('--passphrase-file <file>', 'first line is the passphrase; mode 0600')
    .option('--passphrase-dir <dir>', 'one passphrase file per key name; falls back to --passphrase-file');

/** A command that people sign, who can be named, and who may be elsewhere. */
export const byPeople = (parent: Command, name: string, description: string): Command =>
  signing(parent, name, description)
    .option(
      '--key <name>',
      'who signs; repeat for more (default: as many of the keys that are here as the role needs)',
      collect,
    )
    .option('--propose', 'with too few keys here, let it wait for the signatures of others (release sign)');

/** Who signs, as release functions want it. */
export const signers = (options: RepositoryOptions): { keyNames?: string[] } =>
  options.key === undefined ? {} : { keyNames: options.key };

/** Options as library functions want them: without those that were not given. */
export const given = <T extends object>(values: T) =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [Name in keyof T]?: Exclude<T[Name], undefined>;
  };

/**
 * Opens repository and keys for one command, and closes them when `run` has ended.
 *
 * @param scryptN given by `init` only: the repository need not be there yet.
 * @throws E_REPOSITORY_MISSING, E_REPOSITORY_UNREADABLE; E_DATABASE_URL, E_DATABASE_UNREACHABLE.
 */
export async function withContext<T>(
  options: RepositoryOptions,
  run: (context: ReleaseContext) => Promise<T>,
  scryptN?: number,
): Promise<T> {
  letOthersRead();
  const storage = await openStorage(options.repo, scryptN === undefined ? 'write' : 'make');
  try {
    if (scryptN === undefined) await readState(storage);
    return await run(contextOf(options, storage, scryptN));
  } finally {
    await storage.close();
  }
}

/** What is public is for the users of store and daemon, whatever the umask; what is secret is made with modes of its own. */
export const letOthersRead = () => void process.umask(0o022);

/** In a container the user often has no name. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return `uid-${process.getuid?.()}`;
  }
}

const contextOf = (options: RepositoryOptions, storage: Storage, scryptN?: number): ReleaseContext => ({
  storage,
  clock: systemClock,
  actor: userName(),
  keys: keyRingOf({ ...options, keys: options.keys ?? options.repo }, scryptN),
  propose: options.propose,
  onProposed: roles =>
    void process.stderr.write(
      `${roles.join(', ')}: waits for more signatures, not yet to be published. Next: release sign --repo ${storage.name} --export FILE.\n`,
    ),
  onStep:
    process.stderr.isTTY && !options.json ? step => void process.stderr.write(`  ${step}\n`) : undefined,
});
