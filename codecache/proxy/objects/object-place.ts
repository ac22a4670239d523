import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../../lib/errors.ts';

/** Where the objects of a cache's directory lie. */
export const objectPath = (directory: string, sha256: string): string =>
  join(directory, 'objects', sha256.slice(0, 2), sha256);

/** Where objects are received, each under a name that begins with the id of its process. */
export const incomingDirectory = (directory: string): string => join(directory, 'incoming');

/**
 * Names of all objects that lie in a cache's directory, in no order; what else lies there is passed over.
 *
 * @throws E_PERMISSION and the like naming the directory.
 */
export async function* objectNames(directory: string): AsyncGenerator<string> {
  for (const part of await namesIn(join(directory, 'objects'))) {
    if (!/^[0-9a-f]{2}$/.test(part)) continue;
    for (const name of await namesIn(join(directory, 'objects', part))) {
      if (/^[0-9a-f]{64}$/.test(name) && name.startsWith(part)) yield name;
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return [];
    throw fromSystemError(error, directory);
  }
}
