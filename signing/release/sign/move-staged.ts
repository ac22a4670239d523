import * as z from 'zod';
import { places } from '../layout.ts';
import { MAX_METADATA_BYTES } from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import { versionedNames } from '../repository/versioned-names.ts';

const MOVE = `${places.pending}/move.json`;
const MAX_MOVE_BYTES = 8 * MAX_METADATA_BYTES;
const Move = z.strictObject({ files: z.record(z.string(), z.string()) });

/** Takes what is pending of these roles away, all versions but `kept`. */
export async function removePending(
  storage: Storage,
  roles: readonly string[],
  kept?: number,
): Promise<void> {
  for (const { path, role, version } of await versionedNames(storage, places.pending)) {
    if (roles.includes(role) && version !== kept) await storage.remove(path);
  }
}

/**
 * Stages fully signed files of several roles all together: a crash leaves none of them, or what {@link finishMove}
 * completes. What was staged or pending of these roles before is dropped; of root every version is kept, clients need each.
 *
 * @param files by name, `4.stable.json`.
 */
export async function moveToStaged(storage: Storage, files: ReadonlyMap<string, Buffer>): Promise<void> {
  const texts = Object.fromEntries([...files].map(([name, bytes]) => [name, bytes.toString('utf8')]));
  if (files.size > 1) await storage.replace(MOVE, Buffer.from(JSON.stringify({ files: texts })));
  await move(storage, texts);
}

/** Completes a move that was cut short; for whoever holds the lock, before the repository is read. */
export async function finishMove(storage: Storage): Promise<void> {
  const bytes = await storage.read(MOVE, MAX_MOVE_BYTES);
  if (bytes) await move(storage, Move.parse(JSON.parse(bytes.toString('utf8'))).files);
}

async function move(storage: Storage, files: Readonly<Record<string, string>>): Promise<void> {
  const moved = new Map<string, number>();
  for (const [name, text] of Object.entries(files)) {
    await storage.replace(`${places.staged}/${name}`, Buffer.from(text));
    const [version, role] = name.split('.');
    moved.set(role!, Number(version));
  }
  for (const { path, role, version } of await versionedNames(storage, places.staged)) {
    if (role !== 'root' && version < (moved.get(role) ?? 0)) await storage.remove(path);
  }
  await removePending(storage, [...moved.keys()]);
  await storage.remove(MOVE);
}
