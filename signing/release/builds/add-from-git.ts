import { lstat, mkdir, mkdtemp, readdir, readFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { libError } from '../../../lib/errors.ts';
import { removeTree } from '../../../lib/remove-tree.ts';
import { writeReproducibleTar, type TarEntry } from '../../../lib/reproducible-tar.ts';
import { signingError } from '../../errors.ts';
import { stableJson } from '../../stable-json.ts';
import { addRelease, type AddResult } from './add-release.ts';
import { invalidTarball, pilotLimits } from './inspect-tarball.ts';
import { checked, parseManifest, releaseVersion } from './pilot-manifest.ts';
import type { ReleaseContext } from '../repository/repository.ts';
import { exportTag, resolveTag, type GitTag } from './git-tag.ts';
import { runProgram } from './run-program.ts';

export interface GitBuild {
  /** Directory of a git repository. */
  git: string;
  /** A tag; the version is its name without a leading `v`. */
  tag: string;
  /** Directory of the tree that holds `pilot.mjs`, default its root; with `build`, after the build. */
  path?: string;
  /** Shell command that is run in a fresh export of the tree; it is code of the repository and runs as this user. */
  build?: string;
  /** Deadline of `build`, default 600. */
  buildSeconds?: number;
  /** Wants a good signature on the tag. */
  verifyTag?: boolean;
}

/**
 * Builds a pilot from a git tag and takes it into the `releases` role with its commit, tag and builder. The tree comes
 * from the commit, never from the work tree; the same commit gives the same bytes.
 *
 * @throws E_TAG_UNKNOWN, E_TAG_SIGNATURE, E_GIT_FAILED, E_BUILD_FAILED, E_VERSION_INVALID, E_TARBALL_INVALID (no
 * pilot.mjs, a manifest that disagrees), and as {@link addRelease}.
 */
export async function addFromGit(
  context: ReleaseContext &
    GitBuild & { attach?: readonly string[]; keyNames?: readonly string[]; signal?: AbortSignal },
): Promise<AddResult> {
  const { signal } = context;
  const version = checked(releaseVersion, context.tag.replace(/^v(?=[0-9])/, ''), 'version');
  const path = checkedPath(context.path ?? '.');
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-git-'));
  try {
    const tag = await resolveTag({
      directory: context.git,
      tag: context.tag,
      work: directory,
      verify: context.verifyTag ?? false,
      signal,
    });
    const tree = join(directory, 'tree');
    await mkdir(tree);
    context.onStep?.(`export ${tag.commit}`);
    await exportTag(tag, tree, signal);
    if (context.build !== undefined) {
      context.onStep?.('build');
      await runBuild(context.build, context.buildSeconds ?? 600, tree, tag, version, signal);
    }
    const tarball = join(directory, `pilot-${version}.tar.gz`);
    await writeReproducibleTar(tarball, await entriesOf(tree, path, tag, version), 9);
    const { commit, committedAt: builtAt } = tag;
    const builder = `${context.actor ?? 'unknown'}@${hostname()}`.replaceAll(/[^A-Za-z0-9@._-]/g, '_');
    return await addRelease({ ...context, tarball, provenance: { commit, tag: tag.tag, builder, builtAt } });
  } finally {
    await removeTree(directory);
  }
}

async function runBuild(
  build: string,
  seconds: number,
  tree: string,
  tag: GitTag,
  version: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { exit, stopped, complaint } = await runProgram(['/bin/sh', '-c', build], {
    cwd: tree,
    // Neither passphrases nor anything else that this program was given.
    env: {
      PATH: process.env.PATH ?? '/usr/bin:/bin',
      HOME: process.env.HOME ?? '/',
      LC_ALL: 'C.UTF-8',
      SOURCE_DATE_EPOCH: String(Date.parse(tag.committedAt) / 1000),
      PILOTAGE_TAG: tag.tag,
      PILOTAGE_COMMIT: tag.commit,
      PILOTAGE_VERSION: version,
    },
    seconds,
    signal,
  });
  if (exit === 0 && stopped === null) return;
  throw signingError({
    code: 'E_BUILD_FAILED',
    message: `The build command did not succeed: ${stopped ?? (exit === null ? 'a signal ended it' : `it ended with code ${exit}`)}.`,
    where: build.slice(0, 200),
    found: complaint || 'it printed nothing',
    fix: `Try it in a fresh export: git archive ${tag.commit} | tar -x -C DIRECTORY`,
  });
}

/** Every file below `path`, and a manifest where there is none. */
async function entriesOf(tree: string, path: string, tag: GitTag, version: string): Promise<TarEntry[]> {
  const where = `${tag.directory} ${tag.tag}:${path}`;
  const root = await directoryIn(tree, path, where);
  const entries: TarEntry[] = [];
  for (const found of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (found.isDirectory()) continue;
    const file = join(found.parentPath, found.name);
    const name = file.slice(root.length + 1);
    if (!found.isFile()) {
      throw invalidTarball(where, `The entry ${name} is not a regular file.`, { expected: 'regular files' });
    }
    if (entries.length >= pilotLimits.maxFiles) {
      throw invalidTarball(where, 'There are too many files for a pilot.', {
        expected: `at most ${pilotLimits.maxFiles}`,
        found: 'more',
      });
    }
    const { mode } = await lstat(file);
    entries.push({ path: name, content: { file }, executable: (mode & 0o100) !== 0 });
  }
  if (!entries.some(entry => entry.path === 'pilot.mjs')) {
    throw invalidTarball(where, 'There is no pilot.mjs in it.', {
      expected: 'pilot.mjs in the directory that --path names',
      found:
        entries
          .map(entry => entry.path)
          .slice(0, 10)
          .join(', ') || 'no files',
    });
  }
  const given = entries.some(entry => entry.path === 'manifest.json');
  if (given) checkManifest(await readFile(join(root, 'manifest.json')), where, tag, version);
  else {
    const { commit, committedAt: builtAt } = tag;
    const manifest = { name: 'pilotage-pilot', version, commit, builtAt, requires: {} };
    const content = Buffer.concat([stableJson(manifest), Buffer.from('\n')]);
    entries.push({ path: 'manifest.json', content });
  }
  return entries;
}

function checkManifest(bytes: Buffer, where: string, tag: GitTag, version: string): void {
  const manifest = parseManifest(bytes, where);
  const differs = (what: string, expected: string, found: string) =>
    invalidTarball(where, `Its manifest.json has another ${what} than the tag.`, { expected, found });
  if (manifest.version !== version) throw differs('version', version, manifest.version);
  if (manifest.commit !== 'unknown' && manifest.commit !== tag.commit) {
    throw differs('commit', tag.commit, manifest.commit);
  }
}

/** A directory of the tree that no symbolic link leads out of. */
async function directoryIn(tree: string, path: string, where: string): Promise<string> {
  let directory = tree;
  for (const part of path.split('/').filter(name => name !== '.')) {
    directory = join(directory, part);
    const found = await lstat(directory).catch(() => null);
    if (found?.isDirectory()) continue;
    throw invalidTarball(where, `There is no directory ${path} in the tree.`, { found: part });
  }
  return directory;
}

function checkedPath(path: string): string {
  const parts = path.replace(/\/+$/, '').split('/');
  if (path.length <= 500 && parts.every(part => part !== '' && part !== '..')) return parts.join('/');
  throw libError({
    code: 'E_USAGE',
    message: 'This is not a directory inside the tree.',
    where: '--path',
    expected: 'a relative path without ".."',
    found: path.slice(0, 100),
    fix: 'Name the directory that holds pilot.mjs, as it is in the repository.',
  });
}
