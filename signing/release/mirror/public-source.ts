import { join } from 'node:path';
import { places } from '../layout.ts';
import { storageReader, type StoreReader } from '../metadata/read-public.ts';
import { openUrl, urlReader } from '../metadata/read-url.ts';
import { MAX_METADATA_BYTES } from '../metadata/role-metadata.ts';
import { fileStorage } from '../storage/file-storage.ts';
import type { Storage } from '../storage/storage.ts';

/** A published tree, wherever it is; nothing in it is trusted. */
export interface PublicSource {
  /** Base URL, directory or database; for messages. */
  name: string;
  read: StoreReader;
  /** Bytes of a file of any size, unbounded; null when there is none. */
  open(path: string): Promise<AsyncIterable<Uint8Array> | null>;
}

/** The public part of a repository or mirror. */
export const storageSource = (storage: Storage): PublicSource => ({
  name: storage.where(places.public),
  read: storageReader(storage),
  open: path => bytesOf(storage, `${places.public}/${path}`),
});

/**
 * A store by its base URL, or a directory with `metadata/` and `targets/` in it.
 *
 * @param address `http://…`, `https://…` or a path.
 */
export function publicSource(address: string): PublicSource {
  if (/^https?:\/\//.test(address)) {
    return { name: address, read: urlReader(address), open: path => openUrl(address, path) };
  }
  const files = fileStorage(address);
  return {
    name: join(address),
    read: path => files.read(path, MAX_METADATA_BYTES),
    open: path => bytesOf(files, path),
  };
}

async function bytesOf(storage: Storage, path: string): Promise<AsyncIterable<Uint8Array> | null> {
  const file = await storage.open(path);
  if (!file) return null;
  return (async function* () {
    try {
      yield* file.stream() as AsyncIterable<Uint8Array>;
    } finally {
      await file.close();
    }
  })();
}
