import type { Kysely } from 'kysely';
import type { StoredFile } from './storage.ts';
import { CHUNK_BYTES, type StorageTables } from './database-tables.ts';

/** A row of release_file; `whole` holds the bytes where they are one chunk at most. */
export interface FoundFile {
  content: string;
  size: number;
  modified_ms: number;
  whole: Buffer | null;
}

/** Finds a file; a small one comes with its bytes in the same statement, so that no replacement comes between. */
export async function findFile(db: Kysely<StorageTables>, path: string): Promise<FoundFile | undefined> {
  const row = await db
    .selectFrom('release_file as file')
    .leftJoin('release_chunk as chunk', join =>
      join
        .onRef('chunk.content', '=', 'file.content')
        .on('chunk.number', '=', 0)
        .on('file.size', '<=', CHUNK_BYTES),
    )
    .select(['file.content', 'file.size', 'file.modified_ms', 'chunk.bytes'])
    .where('file.path', '=', path)
    .executeTakeFirst();
  if (!row) return undefined;
  const { bytes, ...file } = row;
  return { ...file, whole: file.size > CHUNK_BYTES ? null : Buffer.from(bytes ?? []) };
}

/**
 * A whole file by one statement, which sees one version of it whatever is replaced meanwhile.
 *
 * @returns its size alone when that is more than `maxBytes`; null when there is no such file.
 */
export async function readWhole(
  db: Kysely<StorageTables>,
  path: string,
  maxBytes: number,
): Promise<Buffer | { size: number } | null> {
  const rows = await db
    .selectFrom('release_file as file')
    .leftJoin('release_chunk as chunk', join =>
      join.onRef('chunk.content', '=', 'file.content').on('file.size', '<=', maxBytes),
    )
    .select(['file.size', 'chunk.bytes'])
    .where('file.path', '=', path)
    .orderBy('chunk.number')
    .execute();
  const [first] = rows;
  if (!first) return null;
  if (first.size > maxBytes) return { size: first.size };
  return Buffer.concat(rows.map(({ bytes }) => Buffer.from(bytes ?? [])));
}

/** Bytes of a large file from `start` to `end`, both included, a chunk at a time. @throws what `gone` makes. */
export async function* readChunks(
  db: Kysely<StorageTables>,
  file: FoundFile,
  start: number,
  end: number,
  gone: () => Error,
): AsyncGenerator<Buffer> {
  for (let number = Math.floor(start / CHUNK_BYTES); number * CHUNK_BYTES <= end; number += 1) {
    const first = number * CHUNK_BYTES;
    const row = await db
      .selectFrom('release_chunk')
      .select('bytes')
      .where('content', '=', file.content)
      .where('number', '=', number)
      .executeTakeFirst();
    const wanted = Math.min(end - first + 1, CHUNK_BYTES);
    if (!row || row.bytes.length < wanted) throw gone();
    yield Buffer.from(row.bytes).subarray(Math.max(0, start - first), wanted);
  }
}

/** Writes bytes after the first `offset` ones, which must be there; what followed them goes. Returns the new size. */
export async function writeChunks(
  trx: Kysely<StorageTables>,
  content: string,
  offset: number,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<number> {
  let number = Math.floor(offset / CHUNK_BYTES);
  const keep = offset % CHUNK_BYTES;
  let pending = Buffer.alloc(0);
  if (keep > 0) {
    const last = await trx
      .selectFrom('release_chunk')
      .select('bytes')
      .where('content', '=', content)
      .where('number', '=', number)
      .executeTakeFirstOrThrow();
    pending = Buffer.from(last.bytes).subarray(0, keep);
  }
  await trx
    .deleteFrom('release_chunk')
    .where('content', '=', content)
    .where('number', '>=', number)
    .execute();
  const first = number;
  const flush = async (chunk: Buffer) => {
    await trx.insertInto('release_chunk').values({ content, number, bytes: chunk }).execute();
    number += 1;
  };
  for await (const part of bytes) {
    pending = pending.length === 0 ? Buffer.from(part) : Buffer.concat([pending, part]);
    for (; pending.length >= CHUNK_BYTES; pending = pending.subarray(CHUNK_BYTES)) {
      await flush(pending.subarray(0, CHUNK_BYTES));
    }
  }
  const size = number * CHUNK_BYTES + pending.length;
  if (pending.length > 0 || (first === 0 && number === 0)) await flush(pending);
  return size;
}

/** What {@link StoredFile} promises, over rows. */
export const storedFile = (file: FoundFile, stream: StoredFile['stream']): StoredFile => ({
  size: file.size,
  modifiedMs: file.modified_ms,
  tag: `${file.content}-${file.size.toString(16)}-${file.modified_ms.toString(16)}`.toLowerCase(),
  stream,
  close: async () => undefined,
});
