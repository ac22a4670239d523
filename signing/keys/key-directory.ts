import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { ensureDirectory } from '../../lib/files.ts';
import { signingError } from '../errors.ts';
import { createEncryptedKey, unlockEncryptedKey } from './encrypted-key.ts';
import { openExternalKey } from './external-signer.ts';
import { readKeyFile, readPublicKeyFile } from './key-file.ts';
import type { PassphraseSource } from './passphrase.ts';
import type { KeyRing, KnownKey, Signer } from './signer.ts';

const PRIVATE = '.key.json';
const PUBLIC = '.pub.json';

export const publicFileName = (name: string): string => name + PUBLIC;
export const keyFilePath = (directory: string, name: string): string => join(directory, name + PRIVATE);

/**
 * The keys of one directory: `<name>.key.json` can sign (encrypted, or through a command), `<name>.pub.json` is the public
 * part of a key whose owner is elsewhere. Each key is unlocked at most once.
 *
 * @param options.passphrases asked for the passphrase of a key when it is unlocked or made.
 * @param options.scryptN cost for new keys; recorded in each file.
 * @param options.hasTerminal a person is there whom a signing command may ask for a PIN; default false.
 * @throws E_KEY_MISSING from `list` and `signer` when the directory is not there.
 */
export function openKeyDirectory(options: {
  directory: string;
  clock: Clock;
  passphrases: PassphraseSource;
  scryptN?: number | undefined;
  hasTerminal?: boolean | undefined;
}): KeyRing {
  const { directory, hasTerminal = false } = options;
  const unlocked = new Map<string, Promise<Signer>>();

  const unlock = async (name: string): Promise<Signer> => {
    const path = keyFilePath(directory, name);
    const file = await readKeyFile(path).catch(async (error: unknown) => {
      throw (await isPublicOnly(directory, name)) ? ownerElsewhere(directory, name) : error;
    });
    if (file.name !== name) throw misnamed(path, name, file.name);
    if ('signer' in file) return openExternalKey(file, path, { hasTerminal });
    return unlockEncryptedKey(
      file,
      await options.passphrases({ keyName: name, where: path, isNew: false }),
      path,
    );
  };

  return {
    list: () => listKeys(directory),
    signer(name) {
      const known = unlocked.get(name);
      if (known) return known;
      const signer = unlock(name);
      unlocked.set(name, signer);
      signer.catch(() => unlocked.delete(name));
      return signer;
    },
    async create(name, scheme) {
      await ensureDirectory(directory, 0o700);
      const path = keyFilePath(directory, name);
      const passphrase = await options.passphrases({ keyName: name, where: path, isNew: true });
      return createEncryptedKey({
        path,
        name,
        passphrase,
        nowMs: options.clock.now(),
        scheme,
        scryptN: options.scryptN,
      });
    },
  };
}

/** A key with both files is one key; two different keys of one name are refused. */
async function listKeys(directory: string): Promise<KnownKey[]> {
  const keys = new Map<string, KnownKey>();
  const entries = (await namesIn(directory)).sort();
  for (const suffix of [PRIVATE, PUBLIC]) {
    for (const entry of entries.filter(name => name.endsWith(suffix))) {
      const where = join(directory, entry);
      const canSign = suffix === PRIVATE;
      const file = await (canSign ? readKeyFile(where) : readPublicKeyFile(where));
      if (file.name + suffix !== entry) throw misnamed(where, entry.slice(0, -suffix.length), file.name);
      const other = keys.get(file.name);
      if (other && other.keyId !== file.keyId) throw ambiguous(where, other);
      if (!other)
        keys.set(file.name, { name: file.name, keyId: file.keyId, public: file.public, where, canSign });
    }
  }
  return [...keys.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

const isPublicOnly = async (directory: string, name: string): Promise<boolean> =>
  (await namesIn(directory)).includes(publicFileName(name));

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

const ownerElsewhere = (directory: string, name: string) =>
  signingError({
    code: 'E_KEY_MISSING',
    message: `Only the public part of the key "${name}" is here.`,
    where: join(directory, publicFileName(name)),
    expected: name + PRIVATE,
    fix: 'Have its owner sign: pilotage release sign --export FILE makes the request.',
  });

const ambiguous = (where: string, other: KnownKey) =>
  signingError({
    code: 'E_KEY_UNREADABLE',
    message: `Two different keys have the name "${other.name}".`,
    where,
    expected: `key id ${other.keyId.slice(0, 12)}, as in ${other.where}`,
    fix: 'Remove the file that is out of date.',
  });

const misnamed = (where: string, expected: string, found: string) =>
  signingError({
    code: 'E_KEY_UNREADABLE',
    message: 'The key in this file has another name than the file.',
    where,
    expected,
    found,
    fix: `Rename the file to that of ${found}, or restore the right one.`,
  });
