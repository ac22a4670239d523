import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { openStorage, type StorageUse } from '../../signing/release/storage/open-storage.ts';
import type { Storage } from '../../signing/release/storage/storage.ts';
import { testDatabase } from './databases.ts';
import { temporaryDirectory, type Ending } from './temporary.ts';

export type BackEnd = 'file tree' | 'sqlite' | 'postgres' | 'mariadb';

/** An empty place for a release repository, for one test. */
export interface TestStorage {
  backEnd: BackEnd;
  /** Directory or database address; for other processes too. */
  place: string;
  /** Opens it; each one is closed at the end of the test. */
  open: (use?: StorageUse) => Promise<Storage>;
}

/** The loop of every test of repositories: runs `define` for a file tree and for databases. */
export function forEachStorage(
  backEnds: readonly BackEnd[],
  define: (
    backEnd: BackEnd,
    storageTest: (name: string, body: (storage: TestStorage, t: TestContext) => Promise<void>) => void,
  ) => void,
): void {
  for (const backEnd of backEnds) {
    describe(backEnd, () =>
      define(backEnd, (name, body) => {
        test(name, async t => body(await testStorage(backEnd, t), t));
      }),
    );
  }
}

/** A fresh, empty place, gone at the end of the test. */
export async function testStorage(
  backEnd: BackEnd,
  t: { after(cleanup: () => Promise<void> | void): void },
): Promise<TestStorage> {
  const place =
    backEnd === 'file tree'
      ? join(await temporaryDirectory(t, 'storage'), 'repository')
      : await withoutPassword((await testDatabase(backEnd, t)).url, t);
  const opened: Storage[] = [];
  t.after(async () => {
    await Promise.all(opened.map(storage => storage.close()));
  });
  return {
    backEnd,
    place,
    open: async (use = 'make') => {
      const storage = await openStorage(place, use);
      opened.push(storage);
      return storage;
    },
  };
}

/** Passwords are refused in the address of a repository. */
async function withoutPassword(address: string, t: Ending): Promise<string> {
  if (address.startsWith('sqlite:')) return address;
  const url = new URL(address);
  const passwordFile = join(await temporaryDirectory(t, 'password'), 'password');
  await writeFile(passwordFile, decodeURIComponent(url.password), { mode: 0o600 });
  url.password = '';
  url.searchParams.set('passwordFile', passwordFile);
  return url.href;
}
