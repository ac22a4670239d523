import type { Metadata, Root, Targets } from '@tufjs/models';
import { signingError } from '../errors.ts';
import type { KeyRing, Signer } from '../keys/signer.ts';
import { appendEvent, type LogAnchor, type LogEntry } from './event-log.ts';
import { metadataName, places, type Role } from './layout.ts';
import { authorityOf, versionedNames, type ReleaseContext } from './repository.ts';
import {
  expiryDate,
  parseMetadata,
  sha256Of,
  signMetadata,
  typeOf,
  type AnySigned,
} from './role-metadata.ts';
import type { Storage } from './storage/storage.ts';

/** The part of a repository that signing needs; there before the repository is. */
export interface SigningState {
  context: ReleaseContext;
  storage: Storage;
  keyNames: Record<string, string>;
  root: { metadata: Metadata<Root> };
  targets: { metadata: Metadata<Targets> };
  anchor: LogAnchor | null;
}

/**
 * The signers of a role: those named, or as many as its threshold of those that are here.
 *
 * @throws E_THRESHOLD_NOT_MET, E_KEY_NOT_AUTHORIZED, E_KEY_MISSING, E_PASSPHRASE_WRONG.
 */
export async function pickSigners(
  state: SigningState,
  role: Role,
  wanted?: readonly string[],
): Promise<Signer[]> {
  const { keyIds, threshold } = authorityOf(state, role);
  const here = await state.context.keys.list();
  const names = keyIds.map(id => state.keyNames[id] ?? id.slice(0, 12));
  const usable = here.filter(key => keyIds.includes(key.keyId)).map(key => key.name);
  for (const name of wanted ?? []) {
    if (usable.includes(name)) continue;
    const known = here.find(key => key.name === name);
    throw signingError({
      code: known ? 'E_KEY_NOT_AUTHORIZED' : 'E_KEY_MISSING',
      message: known
        ? `The key "${name}" may not sign the role "${role}".`
        : `There is no key "${name}" in the keys directory.`,
      where: known?.where ?? `key ${name}`,
      expected: `keys of ${role}: ${names.join(', ')}`,
      found: known ? `key id ${known.keyId.slice(0, 12)}` : here.map(key => key.name).join(', ') || 'no key',
      fix: 'Name a key that the role lists.',
    });
  }
  const chosen = wanted ? [...new Set(wanted)] : usable.slice(0, threshold);
  if (chosen.length < threshold) throw thresholdNotMet(role, threshold, names, chosen);
  return Promise.all(chosen.map(name => state.context.keys.signer(name)));
}

const thresholdNotMet = (role: Role, threshold: number, names: string[], chosen: string[]) =>
  signingError({
    code: 'E_THRESHOLD_NOT_MET',
    message: `The role "${role}" needs ${threshold} signatures; there ${chosen.length === 1 ? 'is' : 'are'} ${chosen.length}.`,
    where: `role ${role}`,
    expected: `${threshold} of ${names.join(', ')}`,
    found: chosen.join(', ') || 'none of them',
    rule: `threshold of ${role}`,
    fix: 'Bring the key files of enough people together with --keys, and name them with --key.',
  });

/** Signs metadata, checks the result against the delegator, and writes the event before the signature leaves. */
export async function signAndLog(
  state: SigningState,
  event: { role: Role; action: string; details?: LogEntry['details'] },
  signed: AnySigned,
  signers: readonly Signer[],
): Promise<Buffer> {
  const bytes = await signMetadata(signed, signers);
  const metadata = parseMetadata(typeOf(event.role), bytes, event.role);
  const top = ['root', 'targets', 'snapshot', 'timestamp'].includes(event.role);
  (top ? state.root : state.targets).metadata.verifyDelegate(event.role, metadata);
  await appendEvent(state.storage, eventOf(state, event, signed, signers, sha256Of(bytes)), state.anchor);
  return bytes;
}

/** A log entry without its place in the chain. */
export const eventOf = (
  state: Pick<SigningState, 'context'>,
  event: { role: Role; action: string; details?: LogEntry['details'] },
  signed: AnySigned,
  signers: readonly Signer[],
  sha256: string | null,
): Omit<LogEntry, 'seq' | 'previous'> => ({
  at: new Date(state.context.clock.now()).toISOString(),
  by: (state.context.actor ?? 'unknown').replace(/[^A-Za-z0-9@._-]/g, '_'),
  action: event.action,
  role: event.role,
  version: signed.version,
  sha256,
  keys: signers.map(({ name, keyId }) => ({ name, keyId })),
  details: event.details ?? {},
});

/**
 * Signs the next version of a role and stages it for the next publish; the version staged before is dropped.
 *
 * @param makeSigned given the expiry date, makes the signed part.
 */
export async function stageRole(
  state: SigningState,
  event: { role: Role; action: string; details?: LogEntry['details'] },
  options: { expiresSeconds: number; keyNames?: readonly string[] | undefined },
  makeSigned: (expires: string) => AnySigned,
): Promise<Buffer> {
  const signers = await pickSigners(state, event.role, options.keyNames);
  const signed = makeSigned(expiryDate(state.context.clock.now(), options.expiresSeconds));
  state.context.onStep?.(`sign ${event.role}`);
  const bytes = await signAndLog(state, event, signed, signers);
  state.context.onStep?.(`stage ${event.role}`);
  const { storage } = state;
  await storage.replace(`${places.staged}/${metadataName(event.role, signed.version)}`, bytes);
  for (const other of await versionedNames(storage, places.staged)) {
    if (other.role === event.role && other.version < signed.version && other.role !== 'root') {
      await storage.remove(other.path);
    }
  }
  return bytes;
}

/** The keys of a ring by name. */
export async function keysByName(
  keys: KeyRing,
): Promise<Map<string, Awaited<ReturnType<KeyRing['list']>>[number]>> {
  return new Map((await keys.list()).map(key => [key.name, key]));
}
