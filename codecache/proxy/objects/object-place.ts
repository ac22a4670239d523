import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Where the objects of a cache's directory lie. */
export const objectPath = (directory: string, sha256: string): string =>
  join(directory, 'objects', sha256.slice(0, 2), sha256);

/** Where objects are received, each under a name that begins with the id of its process. */
export const incomingDirectory = (directory: string): string => join(directory, 'incoming');

/** Names of all objects that lie in a cache's directory, in no order. */
export async function* objectNames(directory: string): AsyncGenerator<string> {
  for (const part of await readdir(join(directory, 'objects'))) {
    if (!/^[0-9a-f]{2}$/.test(part)) continue;
    for (const name of await readdir(join(directory, 'objects', part))) {
      if (/^[0-9a-f]{64}$/.test(name) && name.startsWith(part)) yield name;
    }
  }
}
