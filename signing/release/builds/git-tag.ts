import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar';
import { signingError } from '../../errors.ts';
import { invalidTarball } from './inspect-tarball.ts';
import { git, gitFailed, need, openObjects, runGit, type GitObjects, type GitOptions } from './run-git.ts';

export interface GitTag {
  /** Directory of the repository. */
  directory: string;
  tag: string;
  /** Object id of the commit that the tag names. */
  commit: string;
  /** When it was committed, `2026-11-22T15:00:00Z`. */
  committedAt: string;
  /** Where its tree is read from. */
  objects: GitObjects;
}

const EXPORT_SECONDS = 600;
const MAX_EXPORT_BYTES = 1024 * 2 ** 20;

/**
 * Finds the commit of a tag, annotated or not.
 *
 * @param options.work an empty directory of the caller's, to which what is read of the repository belongs.
 * @param options.verify wants a good signature of a key that git trusts (gpg or ssh), for a tag of this very name.
 * @throws E_TAG_UNKNOWN (no such tag, or one that names no commit), E_TAG_SIGNATURE, E_GIT_FAILED.
 */
export async function resolveTag(
  options: Pick<GitOptions, 'directory' | 'signal'> & { tag: string; work: string; verify?: boolean },
): Promise<GitTag> {
  const { directory, tag, signal } = options;
  const objects = await openObjects({ directory, signal }, options.work);
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
  const idOf = async (name: string, from: GitOptions = { directory, signal }) => {
    const found = await git(from, ['rev-parse', '--verify', '--quiet', '--end-of-options', name]);
    return found.exit === 0 ? found.output : undefined;
  };
  const object = await idOf(`refs/tags/${tag}`);
  if (object === undefined) {
    const isBranch = (await idOf(`refs/heads/${tag}`)) !== undefined;
    throw unknown(`There is no tag "${tag}" here.`, isBranch ? `a branch "${tag}"` : 'no such tag');
  }
  // From here on by object id: a tag that moves meanwhile changes nothing.
  const inside = { directory, signal, objects };
  if (options.verify) await verifySignature({ ...inside, forUser: true, tag }, object);
  const commit = await idOf(`${object}^{commit}`, inside);
  if (commit === undefined) throw unknown(`The tag "${tag}" names no commit.`, object);
  const time = await need(inside, ['show', '-s', '--format=%ct', commit], 'The commit cannot be read.');
  const committedAt = new Date(Number(time) * 1000).toISOString().replace('.000Z', 'Z');
  return { directory, tag, commit, committedAt, objects };
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
  const options = { directory: tag.directory, objects: tag.objects, signal };
  const ended = await runGit(options, ['archive', '--format=tar', tag.commit], EXPORT_SECONDS, stdout =>
    pipeline(stdout, bounded, createWriteStream(archive, { mode: 0o600 })),
  );
  if (ended.exit !== 0 || ended.stopped !== null)
    throw gitFailed(tag.directory, 'The tree cannot be read.', ended);
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
    fix: 'Check it by hand: git verify-tag. Import the signer’s key, and name the allowed signers in your own settings (git config --global): those of the repository do not count. Or have the tag signed.',
  });
}
