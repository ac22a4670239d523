import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readableBytes } from '../lib/byte-size.ts';

/**
 * Bytes that directories take on disk (allocated blocks, hard links once); what vanishes while it is read counts as
 * nothing. Never follows a symbolic link.
 *
 * @param stopAbove ends the walk early once the sum is over it.
 */
export async function diskUse(
  directories: readonly string[],
  stopAbove = Number.POSITIVE_INFINITY,
): Promise<number> {
  const seen = new Set<string>();
  const queue = [...directories];
  let sum = 0;
  for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(directory, entry.name);
      if (entry.isDirectory()) queue.push(path);
      const found = await lstat(path).catch(() => undefined);
      if (!found) continue;
      if (found.nlink > 1 && !entry.isDirectory()) {
        const name = `${found.dev}:${found.ino}`;
        if (seen.has(name)) continue;
        seen.add(name);
      }
      sum += found.blocks * 512;
      if (sum > stopAbove) return sum;
    }
  }
  return sum;
}

/**
 * "peak 612 MiB of 512 MiB", in a unit in which the two differ.
 */
export function overLimit(word: string, found: number, limit: number): string {
  const texts = [readableBytes(found), readableBytes(limit)];
  if (texts[0] !== texts[1]) return `${word} ${texts[0]} of ${texts[1]}`;
  return `${word} ${found} of ${limit} bytes`;
}
