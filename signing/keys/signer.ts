import { createHash } from 'node:crypto';
import { Key } from '@tufjs/models';
import { canonicalBytes } from '../stable-json.ts';
import type { KeyScheme, PublicKeyParts } from './key-scheme.ts';

/** Whatever can sign: a decrypted key file here, a command that asks a token or a remote service. */
export interface Signer {
  /** What people call it, `manager-1`. */
  name: string;
  /** Sha-256 of the canonical JSON of the public key, hex. */
  keyId: string;
  public: PublicKeyParts;
  /** Signs the bytes as they are, in the form that TUF wants of the key's scheme. @throws E_SIGNER_FAILED, E_SIGNER_WRONG. */
  sign(bytes: Uint8Array): Promise<Buffer>;
}

/** A key that is known without having been unlocked. */
export interface KnownKey {
  name: string;
  keyId: string;
  public: PublicKeyParts;
  /** Where its file is. */
  where: string;
  /** False: only the public part is here; the owner signs elsewhere. */
  canSign: boolean;
}

/** Where release functions get keys from. */
export interface KeyRing {
  /** Every key that is there, sorted by name; nothing is unlocked. */
  list(): Promise<KnownKey[]>;
  /** Unlocks a key. @throws E_KEY_MISSING, E_KEY_UNREADABLE, E_PASSPHRASE_WRONG, E_PASSPHRASE_MISSING. */
  signer(name: string): Promise<Signer>;
  /** Makes a key of this name, ECDSA P-256 where no scheme is named. @throws E_KEY_EXISTS. */
  create(name: string, scheme?: KeyScheme): Promise<KnownKey>;
}

/** Key id: sha-256 of the canonical JSON of the key, hex. */
export const keyIdOf = (parts: PublicKeyParts): string =>
  createHash('sha256').update(canonicalBytes(parts)).digest('hex');

/** The key as @tufjs/models knows it. */
export const modelKey = (key: { keyId: string; public: PublicKeyParts }): Key =>
  new Key({
    keyID: key.keyId,
    keyType: key.public.keytype,
    scheme: key.public.scheme,
    keyVal: { ...key.public.keyval },
  });
