import { lstat, readdir, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface Found {
  path: string;
  bytes: number;
  changedMs: number;
}

/** Of things that are kept by age and by total size, those to remove now: too old, then the oldest until it fits. */
export function overdue(
  found: readonly Found[],
  limits: { nowMs: number; maxAgeSeconds: number; maxBytes: number },
): Found[] {
  let bytes = 0;
  return found
    .toSorted((a, b) => b.changedMs - a.changedMs)
    .filter(item => {
      bytes += item.bytes;
      return limits.nowMs - item.changedMs > limits.maxAgeSeconds * 1000 || bytes > limits.maxBytes;
    });
}

/** Removes the files below `directory` that are overdue, and directories that are left empty. @returns files removed. */
export async function sweepFiles(
  directory: string,
  limits: { nowMs: number; maxAgeSeconds: number; maxBytes: number },
): Promise<number> {
  const files = await measureFiles(directory);
  const old = overdue(files, limits);
  for (const file of old) await rm(file.path, { force: true });
  if (old.length > 0) await removeEmpty(directory, true);
  return old.length;
}

/** Every file below a directory; what vanishes meanwhile is left out. */
export async function measureFiles(directory: string): Promise<Found[]> {
  const found: Found[] = [];
  for (const entry of await entriesOf(directory)) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) found.push(...(await measureFiles(path)));
    else {
      const seen = await lstat(path).catch(() => null);
      if (seen !== null) found.push({ path, bytes: seen.size, changedMs: Math.floor(seen.mtimeMs) });
    }
  }
  return found;
}

async function removeEmpty(directory: string, isTop: boolean): Promise<void> {
  for (const entry of await entriesOf(directory)) {
    if (entry.isDirectory()) await removeEmpty(join(directory, entry.name), false);
  }
  if (!isTop && (await entriesOf(directory)).length === 0) await rmdir(directory);
}

async function entriesOf(directory: string) {
  try {
    return await readdir(directory, { withFileTypes: true });
  } catch (error) {
    // What a payload left may be closed to us, or deeper than any path; it counts with what can be seen.
    if (/^(ENOENT|EACCES|ENAMETOOLONG|ENOTDIR)$/.test((error as NodeJS.ErrnoException).code ?? '')) return [];
    throw error;
  }
}
