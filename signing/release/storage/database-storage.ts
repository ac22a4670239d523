import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Transaction } from 'kysely';
import { insertIfAbsent } from '../../../lib/database/insert-if-absent.ts';
import type { Database } from '../../../lib/database/database.ts';
import { fromSystemError, libError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { signingError } from '../../errors.ts';
import type { StorageTables } from './database-tables.ts';
import { storageFailure } from './storage-failure.ts';
import { checkPath, type Storage, type StorageLock, type StoredFile } from './storage.ts';
import { findFile, readWhole, readChunks, storedFile, writeChunks } from './stored-chunks.ts';

type Trx = Transaction<StorageTables>;

/**
 * A repository as rows of a database. A write is one transaction; each that is made under the lock proves in that same
 * transaction that nobody took the lock since: a session that broke without a word cannot write over its successor.
 *
 * @param name address of the database without a password.
 */
export class DatabaseStorage implements Storage {
  readonly name: string;
  readonly #database: Database<StorageTables>;
  #lock: StorageLock | undefined;
  /** Proves in each write that the lock is still ours. */
  #owner: string | undefined;
  #workDirectory: string | undefined;

  constructor(database: Database<StorageTables>, name: string) {
    this.#database = database;
    this.name = name;
  }

  where(path: string): string {
    return `${this.name}#${checkPath(path)}`;
  }

  async read(path: string, maxBytes: number): Promise<Buffer | null> {
    const where = this.where(path);
    const found = await storageFailure(where, () => readWhole(this.#database.db, path, maxBytes));
    if (found === null || Buffer.isBuffer(found)) return found;
    throw tooLarge(where, maxBytes, found.size);
  }

  async open(path: string): Promise<StoredFile | null> {
    const where = this.where(path);
    const { db } = this.#database;
    const file = await storageFailure(where, () => findFile(db, path));
    if (!file) return null;
    const { whole, size } = file;
    return storedFile(file, (start = 0, end = size - 1) =>
      Readable.from(
        whole ? [whole.subarray(start, end + 1)] : readChunks(db, file, start, end, () => replaced(where)),
        { objectMode: false, highWaterMark: 1 },
      ),
    );
  }

  create(path: string, bytes: Uint8Array): Promise<boolean> {
    return this.#create(path, () => [bytes]);
  }

  createFrom(path: string, localFile: string): Promise<boolean> {
    return this.#create(path, () => bytesOf(localFile));
  }

  async replace(path: string, bytes: Uint8Array): Promise<void> {
    await this.#write(path, async trx => {
      await removeFile(trx, path);
      await this.#insert(trx, path, [bytes]);
    });
  }

  async append(path: string, offset: number, bytes: Uint8Array): Promise<void> {
    await this.#write(path, async trx => {
      await this.#insert(trx, path, []);
      const { content, size } = await trx
        .selectFrom('release_file')
        .select(['content', 'size'])
        .where('path', '=', path)
        .executeTakeFirstOrThrow();
      if (size < offset) throw tooShort(this.where(path), offset, size);
      await this.#setSize(trx, path, await writeChunks(trx, content, offset, [bytes]));
    });
  }

  async remove(path: string): Promise<void> {
    await this.#write(path, trx => removeFile(trx, path));
  }

  async list(directory: string): Promise<string[]> {
    const names = (await this.listAll(directory)).map(path => path.slice(directory.length + 1));
    return names.filter(name => !name.includes('/'));
  }

  async listAll(directory: string): Promise<string[]> {
    const rows = await storageFailure(this.where(directory), () =>
      this.#database.db
        .selectFrom('release_file')
        .select('path')
        // "0" is the character after the slash.
        .where('path', '>', `${directory}/`)
        .where('path', '<', `${directory}0`)
        .orderBy('path')
        .execute(),
    );
    return rows.map(row => row.path);
  }

  async workDirectory(): Promise<string> {
    try {
      this.#workDirectory ??= await mkdtemp(join(tmpdir(), 'pilotage-release-'));
      return this.#workDirectory;
    } catch (error) {
      throw fromSystemError(error, tmpdir());
    }
  }

  async tryLock(): Promise<StorageLock | null> {
    const lock = await this.#database.tryLock('release');
    if (!lock) return null;
    const owner = randomBytes(16).toString('hex');
    try {
      await storageFailure(this.name, () =>
        this.#database.transaction(async trx => {
          await insertIfAbsent(trx, 'release_lock', { id: 1, owner, writes: 0 }, ['id']);
          await trx.updateTable('release_lock').set({ owner }).where('id', '=', 1).execute();
        }),
      );
    } catch (error) {
      await lock.release();
      throw error;
    }
    this.#owner = owner;
    this.#lock = {
      release: async () => {
        this.#owner = this.#lock = undefined;
        await lock.release();
      },
    };
    return this.#lock;
  }

  async close(): Promise<void> {
    await this.#lock?.release();
    if (this.#workDirectory) await rm(this.#workDirectory, { recursive: true, force: true });
    await this.#database.close();
  }

  async #create(
    path: string,
    bytes: () => AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<boolean> {
    return this.#write(path, trx => this.#insert(trx, path, bytes()));
  }

  /** False when there is such a file; it stays as it is then. */
  async #insert(
    trx: Trx,
    path: string,
    bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  ): Promise<boolean> {
    const content = newId();
    const row = { path, content, size: 0, modified_ms: 0 };
    if (!(await insertIfAbsent(trx, 'release_file', row, ['path']))) return false;
    await this.#setSize(trx, path, await writeChunks(trx, content, 0, bytes));
    return true;
  }

  async #setSize(trx: Trx, path: string, size: number): Promise<void> {
    await trx
      .updateTable('release_file')
      .set({ size, modified_ms: this.#database.nowMs })
      .where('path', '=', path)
      .execute();
  }

  #write<T>(path: string, work: (trx: Trx) => Promise<T>): Promise<T> {
    const where = this.where(path);
    return storageFailure(where, () =>
      this.#database.transaction(async trx => {
        await this.#proveLock(trx);
        return work(trx);
      }),
    );
  }

  async #proveLock(trx: Trx): Promise<void> {
    if (this.#owner === undefined) return;
    const { numUpdatedRows } = await trx
      .updateTable('release_lock')
      .set(row => ({ writes: row('writes', '+', 1) }))
      .where('owner', '=', this.#owner)
      .executeTakeFirstOrThrow();
    if (numUpdatedRows === 1n) return;
    throw signingError({
      code: 'E_REPOSITORY_LOCK_LOST',
      message: 'Another release command took the repository over: the connection that held the lock broke.',
      where: this.name,
      rule: 'who does not hold the lock writes nothing',
      fix: 'Run "pilotage release verify" to see what was done, then run this again.',
    });
  }
}

/** Opened only when it is read. */
async function* bytesOf(localFile: string): AsyncGenerator<Buffer> {
  yield* createReadStream(localFile, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>;
}

async function removeFile(trx: Trx, path: string): Promise<void> {
  await trx
    .deleteFrom('release_chunk')
    .where('content', 'in', file =>
      file.selectFrom('release_file').select('content').where('path', '=', path),
    )
    .execute();
  await trx.deleteFrom('release_file').where('path', '=', path).execute();
}

const unreadable = (where: string, message: string, expected: string, found: string, fix: string) =>
  libError({ code: 'E_FILE_UNREADABLE', message, where, expected, found, fix });

const tooLarge = (where: string, maxBytes: number, size: number) =>
  unreadable(
    where,
    'The file is larger than anything that belongs here.',
    `at most ${maxBytes} bytes`,
    `${size} bytes`,
    'Check that this is the right file.',
  );

const tooShort = (where: string, offset: number, size: number) =>
  unreadable(
    where,
    'The file became shorter while it was worked on.',
    `at least ${offset} bytes`,
    `${size} bytes`,
    'Find out what else writes here, and restore the file from a mirror or backup.',
  );

const replaced = (where: string) =>
  unreadable(where, 'The file was replaced while it was read.', 'all of it', 'a part', 'Read it again.');
