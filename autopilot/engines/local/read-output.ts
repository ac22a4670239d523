import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { openPlainFile } from './open-plain-file.ts';

/**
 * A pilot's output, at most `maxBytes` and a line: where the kept beginning is full (`keptBytes`), the last bytes follow
 * behind a line that says so.
 */
export async function readOutput(
  directory: string,
  stream: 'stdout' | 'stderr',
  limits: { keptBytes: number; maxBytes: number },
): Promise<Buffer> {
  const path = join(directory, stream);
  const { size } = await stat(path).catch(() => ({ size: 0 }));
  if (size < limits.keptBytes) return readEnds(path, limits.maxBytes);
  const tail = await readEnds(join(directory, `${stream}.tail`), Math.floor(limits.maxBytes / 2));
  const head = await readEnds(path, limits.maxBytes - tail.length);
  return Buffer.concat([head, Buffer.from('\n[... output may be dropped here ...]\n'), tail]);
}

/** A file of at most `maxBytes`, else its first and last half as many. */
async function readEnds(path: string, maxBytes: number): Promise<Buffer> {
  const file = await openPlainFile(path);
  if (file === null || file === 'odd') return Buffer.alloc(0);
  try {
    const { size } = await file.stat();
    const part = async (position: number, length: number) => {
      const buffer = Buffer.alloc(length);
      const { bytesRead } = await file.read(buffer, 0, length, position);
      return buffer.subarray(0, bytesRead);
    };
    if (size <= maxBytes) return await part(0, size);
    const half = Math.floor(maxBytes / 2);
    return Buffer.concat([await part(0, half), await part(size - half, half)]);
  } finally {
    await file.close();
  }
}
