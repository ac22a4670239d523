import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { LocalKeeper } from './local-keeper.ts';
import { objectNames, objectPath } from './object-place.ts';

export interface VerifyProgress {
  objects: number;
  bytes: number;
  /** Objects whose bytes were not what their name says; they were removed. */
  damaged: string[];
  /** Objects that could not be read, with the system's code; they were left where they are. */
  unreadable: { sha256: string; code: string }[];
}

const READ_BYTES = 1 << 20;

/**
 * Hashes every object on the disk of a cache again. Damaged ones are removed, and every process of the cache is told to
 * forget what it holds of them.
 *
 * @param options.keeper of this directory. @param options.concurrency of files read at a time, default 2.
 * @param options.onProgress is called after each object.
 * @throws the signal's reason; what the system says when the directory cannot be listed.
 */
export async function verifyObjects(options: {
  directory: string;
  keeper: Pick<LocalKeeper, 'purge'>;
  concurrency?: number;
  onProgress?: (progress: Readonly<VerifyProgress>) => void;
  signal?: AbortSignal;
}): Promise<VerifyProgress> {
  const { directory, keeper, concurrency = 2, onProgress, signal } = options;
  const progress: VerifyProgress = { objects: 0, bytes: 0, damaged: [], unreadable: [] };
  const names = objectNames(directory);
  const work = async (): Promise<void> => {
    for (;;) {
      signal?.throwIfAborted();
      const { value: sha256, done } = await names.next();
      if (done === true) return;
      try {
        const { hash, bytes } = await hashFile(objectPath(directory, sha256), signal);
        if (hash !== sha256) {
          await keeper.purge([sha256]);
          progress.damaged.push(sha256);
        }
        progress.objects += 1;
        progress.bytes += bytes;
      } catch (error) {
        signal?.throwIfAborted();
        const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
        if (code === 'ENOENT') continue;
        progress.unreadable.push({ sha256, code });
      }
      onProgress?.(progress);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, work));
  return progress;
}

async function hashFile(
  path: string,
  signal: AbortSignal | undefined,
): Promise<{ hash: string; bytes: number }> {
  const hash = createHash('sha256');
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  await using file = await open(path, 'r');
  for (let bytes = 0; ;) {
    signal?.throwIfAborted();
    const { bytesRead } = await file.read(buffer, 0, READ_BYTES, bytes);
    if (bytesRead === 0) return { hash: hash.digest('hex'), bytes };
    hash.update(buffer.subarray(0, bytesRead));
    bytes += bytesRead;
  }
}
