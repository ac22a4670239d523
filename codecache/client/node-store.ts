import { lstat, mkdtemp, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../../lib/errors.ts';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import { parseMetadata } from '../../signing/release/role-metadata.ts';
import { codecacheError } from '../errors.ts';
import { pinOf } from '../pin.ts';

/** The store of one user on one node: public, verified code only. Shared by the wrapper and this client. */
export interface NodeStore {
  directory: string;
  /** Trusted metadata under the pinned root. */
  metadataDirectory: string;
  objectsDirectory: string;
  unpackedDirectory: string;
}

/**
 * Opens or makes the store: mode 0700, owned by us, no link.
 *
 * @throws E_STORE_UNSAFE, E_PERMISSION naming the directory.
 */
export async function openNodeStore(directory: string, trustedRoot: Uint8Array | string): Promise<NodeStore> {
  const store: NodeStore = {
    directory,
    metadataDirectory: join(directory, 'metadata', pinOf(trustedRoot)),
    objectsDirectory: join(directory, 'objects'),
    unpackedDirectory: join(directory, 'unpacked'),
  };
  await ensureDirectory(directory, 0o700);
  const info = await lstat(directory);
  if (!info.isDirectory() || info.uid !== process.getuid?.() || (info.mode & 0o077) !== 0) {
    throw codecacheError({
      code: 'E_STORE_UNSAFE',
      message: 'The node-local store is open to others.',
      where: directory,
      expected: 'a directory of this user with mode 0700',
      found: `mode ${(info.mode & 0o777).toString(8)}, owner ${info.uid}${info.isDirectory() ? '' : ', not a directory'}`,
      fix: 'Remove it, or name another directory.',
    });
  }
  for (const path of [store.metadataDirectory, store.objectsDirectory, store.unpackedDirectory]) {
    await ensureDirectory(path, 0o700);
  }
  return store;
}

/**
 * Runs a refresh on a private copy of the trusted metadata (the pinned root where none is trusted yet) and takes over
 * what it wrote, each file whole. Also after a refresh that failed later on: everything tuf-js writes it has verified,
 * and what is trusted only grows (TUF 1.0.31 sections 5.3.8, 5.4.5, 5.5.7, 5.6.7). A file that another process renewed
 * meanwhile is left as that one has it, so no lock is needed.
 */
export async function withTrustedMetadata<T>(
  store: NodeStore,
  trustedRoot: Uint8Array | string,
  run: (directory: string) => Promise<T>,
): Promise<T> {
  const before = await readMetadata(store.metadataDirectory);
  const work = await mkdtemp(join(store.directory, `tmp.${process.pid}.`)).catch((error: unknown) => {
    throw fromSystemError(error, store.directory);
  });
  try {
    for (const [name, bytes] of before) await writeFile(join(work, name), bytes);
    if (!isWhole(before.get('root.json'))) await writeFile(join(work, 'root.json'), trustedRoot);
    try {
      return await run(work);
    } finally {
      await takeOver(store, before, await readMetadata(work));
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function takeOver(
  store: NodeStore,
  before: Map<string, Buffer>,
  after: Map<string, Buffer>,
): Promise<void> {
  const now = await readMetadata(store.metadataDirectory);
  for (const [name, bytes] of before) {
    if (after.has(name) || !same(bytes, now.get(name))) continue;
    await rm(join(store.metadataDirectory, name), { force: true });
    now.delete(name);
  }
  const order = ['root.json', 'timestamp.json', 'snapshot.json'];
  const rank = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  for (const name of [...after.keys()].sort((a, b) => rank(a) - rank(b))) {
    const bytes = after.get(name)!;
    if (before.get(name)?.equals(bytes) === true || !same(before.get(name), now.get(name))) continue;
    await writeFileAtomic(join(store.metadataDirectory, name), bytes, { mode: 0o600 });
  }
}

/** A root that was damaged on disk is not trusted; the chain is followed again from the pinned one. */
function isWhole(bytes: Buffer | undefined): boolean {
  if (bytes === undefined) return false;
  try {
    const root = parseMetadata('root', bytes, 'root.json');
    root.verifyDelegate('root', root);
    return true;
  } catch {
    return false;
  }
}

const same = (a: Buffer | undefined, b: Buffer | undefined): boolean =>
  a === undefined || b === undefined ? a === b : a.equals(b);

async function readMetadata(directory: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of await readdir(directory)) {
    if (/^[a-z0-9-]+\.json$/.test(name)) files.set(name, await readFile(join(directory, name)));
  }
  return files;
}

/** Removes a half-made directory, or puts a whole one in its place. */
export async function placeDirectory(from: string, to: string): Promise<void> {
  try {
    await rm(to, { recursive: true, force: true });
    await rename(from, to);
  } catch (error) {
    throw fromSystemError(error, to);
  }
}
