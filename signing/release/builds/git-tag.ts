import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar';
import { signingError } from '../../errors.ts';
import { invalidTarball } from './inspect-tarball.ts';
import { runProgram, type ProgramEnd } from './run-program.ts';

export interface GitTag {
  /** Directory of the repository. */
  directory: string;
  tag: string;
  /** Object id of the commit that the tag names. */
  commit: string;
  /** When it was committed, `2026-11-22T15:00:00Z`. */
  committedAt: string;
}

interface GitOptions {
  directory: string;
  signal?: AbortSignal | undefined;
}

const SECONDS = 60;
const EXPORT_SECONDS = 600;
const MAX_EXPORT_BYTES = 1024 * 2 ** 20;
/** Settings of the repository that run programs or change bytes do not apply, and nothing is fetched. */
const SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.autocrlf=false',
  'core.eol=lf',
  'tar.umask=0022',
  'protocol.allow=never',
].flatMap(setting => ['-c', setting]);

/**
 * Finds the commit of a tag, annotated or not.
 *
 * @param options.verify wants a good signature of a key that git trusts (gpg or ssh), for a tag of this very name.
 * @throws E_TAG_UNKNOWN (no such tag, or one that names no commit), E_TAG_SIGNATURE, E_GIT_FAILED.
 */
export async function resolveTag(options: GitOptions & { tag: string; verify?: boolean }): Promise<GitTag> {
  const { directory, tag } = options;
  await need(options, ['rev-parse', '--git-dir'], 'This is not a git repository that can be read.');
  const unknown = (message: string, found: string) =>
    signingError({
      code: 'E_TAG_UNKNOWN',
      message,
      where: directory,
      expected: 'the name of a tag; a release is built from nothing that moves',
      found: found.slice(0, 120),
      fix: 'Tag the commit (git tag -s v1.2.3), or fetch the tags.',
    });
  if (!/^(?!.*(\.\.|\/\/|\.lock$|[/.]$))[A-Za-z0-9][A-Za-z0-9._/+-]{0,99}$/.test(tag)) {
    throw unknown('This cannot be the name of a tag.', tag);
  }
  const idOf = async (name: string) => {
    const found = await git(options, ['rev-parse', '--verify', '--quiet', '--end-of-options', name]);
    return found.exit === 0 ? found.output : undefined;
  };
  const object = await idOf(`refs/tags/${tag}`);
  if (object === undefined) {
    const isBranch = (await idOf(`refs/heads/${tag}`)) !== undefined;
    throw unknown(`There is no tag "${tag}" here.`, isBranch ? `a branch "${tag}"` : 'no such tag');
  }
  // From here on by object id: a tag that moves meanwhile changes nothing.
  if (options.verify) await verifySignature(options, object);
  const commit = await idOf(`${object}^{commit}`);
  if (commit === undefined) throw unknown(`The tag "${tag}" names no commit.`, object);
  const time = await need(options, ['show', '-s', '--format=%ct', commit], 'The commit cannot be read.');
  const committedAt = new Date(Number(time) * 1000).toISOString().replace('.000Z', 'Z');
  return { directory, tag, commit, committedAt };
}

/**
 * Writes the tree of a tag's commit into an empty directory, as `git archive` gives it: never the work tree. The archive
 * itself stays beside it, as `<to>.tar`.
 *
 * @throws E_GIT_FAILED, E_TARBALL_INVALID (more than 1 GiB), E_DISK_FULL.
 */
export async function exportTag(tag: GitTag, to: string, signal?: AbortSignal): Promise<void> {
  const archive = `${to}.tar`;
  let bytes = 0;
  const bounded = async function* (source: AsyncIterable<Buffer>) {
    for await (const chunk of source) {
      if ((bytes += chunk.length) > MAX_EXPORT_BYTES) {
        throw invalidTarball(tag.directory, 'The tree of the tag is too large.', {
          expected: `at most ${MAX_EXPORT_BYTES} bytes`,
        });
      }
      yield chunk;
    }
  };
  const git = { directory: tag.directory, signal };
  const ended = await run(git, ['archive', '--format=tar', tag.commit], EXPORT_SECONDS, stdout =>
    pipeline(stdout, bounded, createWriteStream(archive, { mode: 0o600 })),
  );
  if (ended.exit !== 0 || ended.stopped !== null)
    throw failed(tag.directory, 'The tree cannot be read.', ended);
  let refused: Error | undefined;
  await extract({
    file: archive,
    cwd: to,
    preserveOwner: false,
    onwarn: (code, message) => {
      if (code !== 'TAR_ENTRY_INFO') refused ??= invalidTarball(tag.directory, `${message}.`);
    },
  });
  if (refused) throw refused;
}

/** `git verify-tag` proves the object; that it was signed as this tag and not as another one is in its own name. */
async function verifySignature(options: GitOptions & { tag: string }, object: string): Promise<void> {
  const ended = await git(options, ['verify-tag', '--format=%(tag)', object]);
  if (ended.exit === 0 && ended.output === options.tag) return;
  throw signingError({
    code: 'E_TAG_SIGNATURE',
    message: `The tag "${options.tag}" is not signed as it must be.`,
    where: options.directory,
    expected: `a good signature of a trusted key on the tag ${options.tag}`,
    found: ended.exit === 0 ? `a signature on the tag ${ended.output.slice(0, 100)}` : ended.complaint,
    rule: '--verify-tag',
    fix: 'Check it by hand: git verify-tag. Import the signer’s key, or have the tag signed.',
  });
}

async function need(options: GitOptions, args: string[], message: string): Promise<string> {
  const ended = await git(options, args);
  if (ended.exit === 0) return ended.output;
  throw failed(options.directory, message, ended);
}

async function git(options: GitOptions, args: string[]): Promise<ProgramEnd & { output: string }> {
  let output = '';
  const ended = await run(options, args, SECONDS, async stdout => (output = (await text(stdout)).trim()));
  return { ...ended, output };
}

async function run(
  options: GitOptions,
  args: string[],
  seconds: number,
  output: (stdout: Readable) => Promise<unknown>,
): Promise<ProgramEnd> {
  try {
    return await runProgram(['git', ...SETTINGS, ...args], {
      cwd: options.directory,
      env: gitEnvironment(),
      seconds,
      signal: options.signal,
      output,
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw failed(options.directory, 'There is no such directory, or no git on this machine.', null);
  }
}

/** No GIT_DIR of a surrounding hook, no replaced objects, no question at a terminal. */
const gitEnvironment = (): Record<string, string> => ({
  PATH: process.env.PATH ?? '/usr/bin:/bin',
  HOME: process.env.HOME ?? '/',
  ...(process.env.GNUPGHOME === undefined ? {} : { GNUPGHOME: process.env.GNUPGHOME }),
  LC_ALL: 'C',
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  GIT_NO_REPLACE_OBJECTS: '1',
});

const failed = (where: string, message: string, ended: ProgramEnd | null) =>
  signingError({
    code: 'E_GIT_FAILED',
    message,
    where,
    ...(ended && { found: ended.stopped ?? (ended.complaint || `exit ${ended.exit}`) }),
    fix: 'Check the directory with git by hand; --git names a repository, bare or not.',
  });
