import { chmod, mkdtemp, mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { create } from 'tar';

export interface TarEntry {
  /** Path in the archive. */
  path: string;
  /** Its bytes, or the file that has them. */
  content: Buffer | { file: string };
  executable?: boolean;
}

/**
 * Writes a .tar.gz whose bytes depend on the entries alone: sorted, no owner, no times, fixed modes, no name or time in
 * the gzip header. It appears at `target` whole or not at all.
 */
export async function writeReproducibleTar(
  target: string,
  entries: readonly TarEntry[],
  level: number,
): Promise<void> {
  const sorted = entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const staging = await mkdtemp(join(tmpdir(), 'pilotage-tar-'));
  const temporary = `${target}.${process.pid}.tmp`;
  try {
    for (const { path, content } of sorted) {
      const staged = join(staging, path);
      await mkdir(dirname(staged), { recursive: true });
      if (Buffer.isBuffer(content)) {
        await writeFile(staged, content);
        await chmod(staged, 0o644);
      } else await symlink(content.file, staged);
    }
    const executable = new Set(sorted.filter(entry => entry.executable).map(entry => entry.path));
    await mkdir(dirname(target), { recursive: true });
    await create(
      {
        cwd: staging,
        file: temporary,
        portable: true,
        noPax: true,
        follow: true,
        mtime: new Date(0),
        gzip: { level },
        onWriteEntry: entry => {
          const mode = executable.has(entry.path) ? 0o755 : 0o644;
          if (entry.stat) entry.stat.mode = mode;
        },
      },
      sorted.map(entry => entry.path),
    );
    await rename(temporary, target);
  } finally {
    await rm(staging, { recursive: true, force: true });
    await rm(temporary, { force: true });
  }
}
