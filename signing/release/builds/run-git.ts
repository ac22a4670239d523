import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { signingError } from '../../errors.ts';
import { runProgram, type ProgramEnd } from './run-program.ts';

export interface GitOptions {
  /** The repository, bare or not. */
  directory: string;
  /** Reads its objects and nothing else of it, see {@link openObjects}. */
  objects?: GitObjects | undefined;
  /** Applies the settings of the user, who says which signatures are good; else no settings apply. */
  forUser?: boolean;
  signal?: AbortSignal | undefined;
}

/** An empty repository and the objects that it reads. */
export interface GitObjects {
  gitDirectory: string;
  objectDirectory: string;
}

const SECONDS = 60;
const SETTINGS = [
  'core.attributesFile=/dev/null',
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.autocrlf=false',
  'core.eol=lf',
  'tar.umask=0022',
].flatMap(setting => ['-c', setting]);

/**
 * Makes an empty repository below `work` that reads the objects of the one in `directory`. Settings and attributes of a
 * repository name programs that git runs while it reads a tree (filters) or judges a signature (gpg.program); whoever
 * wrote them need not be whom its tags are trusted for, so none of them applies.
 *
 * @throws E_GIT_FAILED.
 */
export async function openObjects(options: GitOptions, work: string): Promise<GitObjects> {
  const refusal = 'This is not a git repository that can be read.';
  const ask = (...args: string[]) => need(options, ['rev-parse', ...args], refusal);
  const objectDirectory = await ask('--path-format=absolute', '--git-path', 'objects');
  const format = await ask('--show-object-format');
  const shallow = await ask('--path-format=absolute', '--git-path', 'shallow');
  const gitDirectory = join(work, 'git');
  await mkdir(join(gitDirectory, 'refs'), { recursive: true });
  await writeFile(join(gitDirectory, 'HEAD'), 'ref: refs/heads/none\n');
  const extensions = format === 'sha1' ? '' : `[extensions]\n\tobjectFormat = ${format}\n`;
  const version = format === 'sha1' ? 0 : 1;
  const config = `[core]\n\tbare = true\n\trepositoryformatversion = ${version}\n${extensions}`;
  await writeFile(join(gitDirectory, 'config'), config);
  // Where the history of a shallow clone ends; there is none in a whole one.
  await copyFile(shallow, join(gitDirectory, 'shallow')).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
  });
  return { gitDirectory, objectDirectory };
}

/** What git prints, trimmed. @throws E_GIT_FAILED with `message` when it fails. */
export async function need(options: GitOptions, args: string[], message: string): Promise<string> {
  const ended = await git(options, args);
  if (ended.exit === 0) return ended.output;
  throw gitFailed(options.directory, message, ended);
}

/** Runs git for a short answer. @throws E_GIT_FAILED when there is no git. */
export async function git(options: GitOptions, args: string[]): Promise<ProgramEnd & { output: string }> {
  let output = '';
  const ended = await runGit(options, args, SECONDS, async stdout => (output = (await text(stdout)).trim()));
  return { ...ended, output };
}

/** Runs git, whose stdout `output` takes. @throws as {@link git}, and what `output` throws. */
export async function runGit(
  options: GitOptions,
  args: string[],
  seconds: number,
  output: (stdout: Readable) => Promise<unknown>,
): Promise<ProgramEnd> {
  try {
    return await runProgram(['git', ...SETTINGS, ...args], {
      cwd: options.directory,
      env: environment(options),
      seconds,
      signal: options.signal,
      output,
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    throw gitFailed(options.directory, 'There is no such directory, or no git on this machine.', null);
  }
}

/** No GIT_DIR of a surrounding hook, no replaced objects, no question at a terminal, and nothing is fetched. */
const environment = ({ objects, forUser }: GitOptions): Record<string, string> => ({
  PATH: process.env.PATH ?? '/usr/bin:/bin',
  HOME: process.env.HOME ?? '/',
  LC_ALL: 'C',
  GIT_ALLOW_PROTOCOL: 'none',
  GIT_TERMINAL_PROMPT: '0',
  GIT_OPTIONAL_LOCKS: '0',
  GIT_NO_REPLACE_OBJECTS: '1',
  ...(objects && {
    GIT_DIR: objects.gitDirectory,
    GIT_OBJECT_DIRECTORY: objects.objectDirectory,
    GIT_ATTR_NOSYSTEM: '1',
  }),
  ...(objects && !forUser && { GIT_CONFIG_GLOBAL: '/dev/null', GIT_CONFIG_NOSYSTEM: '1' }),
  ...(forUser &&
    Object.fromEntries(
      ['GNUPGHOME', 'GIT_CONFIG_GLOBAL'].flatMap(name => {
        const value = process.env[name];
        return value === undefined ? [] : [[name, value]];
      }),
    )),
});

/** What a git that failed is told with. */
export const gitFailed = (where: string, message: string, ended: ProgramEnd | null) =>
  signingError({
    code: 'E_GIT_FAILED',
    message,
    where,
    ...(ended && { found: ended.stopped ?? (ended.complaint || `exit ${ended.exit}`) }),
    fix: 'Check the directory with git by hand; --git names a repository, bare or not.',
  });
