import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureDirectory } from '../lib/files.ts';
import { removeTree } from '../lib/remove-tree.ts';

/** Paths of one attempt below the pilot's sandbox. */
export interface AttemptPaths {
  root: string;
  /** The payload's current directory and HOME. */
  work: string;
  /** The payload's TMPDIR. */
  temporary: string;
  /** The pilot's own: logs, pipes, inputs that are not verified yet. */
  private: string;
  credential: string;
  serverCa: string;
}

/** Holds the id of the payload's process group while one runs; the wrapper kills it when the pilot is killed. */
export const groupFileOf = (sandbox: string): string => join(sandbox, 'payload.pgid');
export const resultsOf = (sandbox: string): string => join(sandbox, 'results');

/** Makes the directories of an attempt, each 0700. @throws E_DISK_FULL, E_PERMISSION naming the path. */
export async function makeAttemptDirectories(sandbox: string, attemptId: string): Promise<AttemptPaths> {
  const root = join(sandbox, 'jobs', attemptId);
  const paths: AttemptPaths = {
    root,
    work: join(root, 'work'),
    temporary: join(root, 'tmp'),
    private: join(root, 'pilot'),
    credential: join(root, 'pilot', 'credential.pem'),
    serverCa: join(root, 'pilot', 'server-ca.pem'),
  };
  await ensureDirectory(root, 0o700);
  for (const directory of [paths.work, paths.temporary, paths.private])
    await mkdir(directory, { mode: 0o700 });
  return paths;
}

/**
 * Removes everything of an attempt, also what the payload made unwritable for itself.
 *
 * @returns what stands in the way, if something does: the next job matters more.
 */
export async function removeAttemptDirectories(paths: AttemptPaths): Promise<string | undefined> {
  try {
    await removeTree(paths.root);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
