import { existsSync } from 'node:fs';
import { parseDatabaseUrl, type DatabaseUrl } from '../../../lib/database/database-url.ts';
import { migrate } from '../../../lib/database/migrate.ts';
import { openDatabase } from '../../../lib/database/open-database.ts';
import { requireSchema, schemaState } from '../../../lib/database/schema-state.ts';
import { libError } from '../../../lib/errors.ts';
import { noRepository } from '../repository/no-repository.ts';
import { DatabaseStorage } from './database-storage.ts';
import { storageMigrations, type StorageTables } from './database-tables.ts';
import { fileStorage } from './file-storage.ts';
import type { Storage } from './storage.ts';

/** `make`: for whoever founds a repository; `write`: an older schema is brought up to date; `read`: nothing is changed. */
export type StorageUse = 'make' | 'write' | 'read';

/** What says that a place is a database; anything else is a directory. */
const DATABASE = /^(sqlite:|postgres(ql)?:|mariadb:|mysql:)/;

/**
 * Opens the place where a repository is kept; whoever opens it closes it.
 *
 * @param place a directory, `sqlite:<path>`, `postgres://user@host/database?passwordFile=…` (or mariadb).
 * @throws E_REPOSITORY_MISSING for a database without one, unless it is to be made; E_DATABASE_URL, also for an address with
 * the password in it; E_DATABASE_UNREACHABLE, E_SCHEMA_UNKNOWN, E_SCHEMA_OUTDATED.
 */
export async function openStorage(place: string, use: StorageUse = 'write'): Promise<Storage> {
  if (!DATABASE.test(place)) return fileStorage(place);
  const url = await parseDatabaseUrl(place);
  refusePassword(place, url);
  if (use !== 'make' && url.dialect === 'sqlite' && !existsSync(url.path)) throw noRepository(url.label);
  const database = await openDatabase<StorageTables>(place, { maxConnections: 4 });
  try {
    const { applied, missing } = await schemaState(database, storageMigrations);
    if (use !== 'make' && applied.length === 0 && missing.length > 0) throw noRepository(url.label);
    if (use !== 'read' && missing.length > 0) await migrate(database, storageMigrations);
    await requireSchema(database, storageMigrations);
    return new DatabaseStorage(database, url.label);
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Command lines are seen by everybody on the machine. */
function refusePassword(place: string, url: DatabaseUrl): void {
  if (url.dialect === 'sqlite' || new URL(place).password === '') return;
  throw libError({
    code: 'E_DATABASE_URL',
    message: 'The address holds a password, which everybody on this machine can read.',
    where: url.label,
    expected: 'an address without it, and ?passwordFile=<file of mode 0600>',
    fix: 'Change the password, write it into a file, and name that.',
  });
}
