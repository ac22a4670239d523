import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';

/**
 * Opens a file of a sandbox for reading, where a payload may have put anything in its place: `odd` for what is not a
 * regular file (a FIFO would hold whoever opens it, a link lead anywhere), null when there is none.
 */
export async function openPlainFile(path: string): Promise<FileHandle | 'odd' | null> {
  let file: FileHandle;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    if (code === 'ELOOP' || code === 'ENXIO') return 'odd';
    throw error;
  }
  if ((await file.stat()).isFile()) return file;
  await file.close();
  return 'odd';
}
