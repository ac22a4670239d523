import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface KnownObject {
  /** Of the URL, without the leading slash. */
  path: string;
  bytes: number;
  /** Where its bytes are, to compare with. */
  file: string;
}

/** Puts an object of random bytes into a public code store, named by its hash. */
export async function addObject(directory: string, name: string, bytes: number): Promise<KnownObject> {
  const body = randomBytes(bytes);
  const path = `targets/bench/${createHash('sha256').update(body).digest('hex')}.${name}`;
  const file = join(directory, path);
  await mkdir(join(directory, 'targets/bench'), { recursive: true });
  await mkdir(join(directory, 'metadata'), { recursive: true });
  await writeFile(file, body);
  return { path, bytes, file };
}
