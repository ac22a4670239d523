import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { createKeyFile, readKeyFile, unlockKeyFile } from './key-file.ts';
import type { PassphraseSource } from './passphrase.ts';
import type { KeyRing, KnownKey, Signer } from './signer.ts';

const SUFFIX = '.key.json';

/**
 * The keys of one directory, one encrypted file `<name>.key.json` per key. Each key is unlocked at most once.
 *
 * @param options.passphrases asked for the passphrase of a key when it is unlocked or made.
 * @param options.scryptN cost for new keys; recorded in each file.
 * @throws E_KEY_MISSING from `list` and `signer` when the directory is not there.
 */
export function openKeyDirectory(options: {
  directory: string;
  clock: Clock;
  passphrases: PassphraseSource;
  scryptN?: number | undefined;
}): KeyRing {
  const { directory } = options;
  const unlocked = new Map<string, Promise<Signer>>();
  const pathOf = (name: string) => join(directory, name + SUFFIX);

  const unlock = async (name: string): Promise<Signer> => {
    const path = pathOf(name);
    const file = await readKeyFile(path);
    if (file.name !== name) throw misnamed(path, name, file.name);
    return unlockKeyFile(file, await options.passphrases({ keyName: name, where: path, isNew: false }), path);
  };

  return {
    async list() {
      const keys: KnownKey[] = [];
      for (const entry of (await namesIn(directory)).filter(name => name.endsWith(SUFFIX)).sort()) {
        const where = join(directory, entry);
        const file = await readKeyFile(where);
        if (file.name + SUFFIX !== entry) throw misnamed(where, entry.slice(0, -SUFFIX.length), file.name);
        keys.push({ name: file.name, keyId: file.keyId, public: file.public, where });
      }
      return keys;
    },
    signer(name) {
      const known = unlocked.get(name);
      if (known) return known;
      const signer = unlock(name);
      unlocked.set(name, signer);
      signer.catch(() => unlocked.delete(name));
      return signer;
    },
    async create(name) {
      await ensureDirectory(directory, 0o700);
      const path = pathOf(name);
      const passphrase = await options.passphrases({ keyName: name, where: path, isNew: true });
      return createKeyFile({
        path,
        name,
        passphrase,
        nowMs: options.clock.now(),
        ...(options.scryptN === undefined ? {} : { scryptN: options.scryptN }),
      });
    },
  };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw signingError({
      code: missing ? 'E_KEY_MISSING' : 'E_KEY_UNREADABLE',
      message: missing ? 'There is no such keys directory.' : 'The keys directory cannot be read.',
      where: directory,
      fix: 'Name the directory that holds the keys with --keys.',
      cause: error,
    });
  }
}

const misnamed = (where: string, expected: string, found: string) =>
  signingError({
    code: 'E_KEY_UNREADABLE',
    message: 'The key in this file has another name than the file.',
    where,
    expected,
    found,
    fix: `Rename the file to ${found}${SUFFIX}, or restore the right one.`,
  });
