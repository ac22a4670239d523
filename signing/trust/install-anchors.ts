import { randomBytes } from 'node:crypto';
import { constants, copyFile, mkdir, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fromSystemError } from '../../lib/errors.ts';
import { ensureDirectory } from '../../lib/files.ts';
import { removeTree } from '../../lib/remove-tree.ts';

/** Where programs find what was installed; the paths stay when it is renewed. */
export interface InstalledAnchors {
  /** For X509_CERT_DIR and OpenSSL's -CApath. */
  certificates: string;
  /** For X509_VOMS_DIR. */
  vomsdir: string;
  policy: string;
  /** False: this very bundle was installed already. */
  changed: boolean;
}

/**
 * Installs an unpacked bundle: into a directory of its own, and then in one rename in place of the one before, which stays
 * for whoever is reading it. A crash leaves the old one.
 *
 * @param options.id names the bundle: another id is another bundle. @throws E_DISK_FULL, E_PERMISSION naming the path.
 */
export async function installAnchors(options: {
  from: string;
  to: string;
  id: string;
}): Promise<InstalledAnchors> {
  const { from, to, id } = options;
  const current = join(to, 'current');
  const paths = {
    certificates: join(current, 'certificates'),
    vomsdir: join(current, 'vomsdir'),
    policy: join(current, 'policy'),
  };
  const versions = join(to, 'versions');
  await ensureDirectory(versions, 0o755);
  const before = await readlink(current).then(basename, () => undefined);
  // A link alone is not enough: temporary directories are cleaned.
  if (before === id && (await stat(current).catch(() => undefined))) return { ...paths, changed: false };
  try {
    await makeVersion(from, versions, id);
    const link = join(to, `.current.${randomBytes(6).toString('hex')}`);
    await symlink(join('versions', id), link);
    await rename(link, current);
  } catch (error) {
    throw fromSystemError(error, to);
  }
  for (const name of await readdir(versions)) {
    if (name !== id && name !== before) await removeTree(join(versions, name));
  }
  return { ...paths, changed: true };
}

async function makeVersion(from: string, versions: string, id: string): Promise<void> {
  const made = join(versions, id);
  if (await stat(made).catch(() => undefined)) return;
  const work = join(versions, `.${id}.${randomBytes(6).toString('hex')}`);
  try {
    for (const name of ['certificates', 'vomsdir', 'policy'])
      await mkdir(join(work, name), { recursive: true });
    for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const source = join(entry.parentPath, entry.name);
      const target = join(work, source.slice(from.length));
      await mkdir(join(target, '..'), { recursive: true });
      await copyFile(source, target, constants.COPYFILE_FICLONE);
    }
    // Another process may have made it meanwhile: its files are the same.
    await rename(work, made).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
