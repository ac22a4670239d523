import { signingError } from '../../errors.ts';
import { BARE_NODE_SCHEME } from '../../keys/key-scheme.ts';
import type { KeyRing, KnownKey, Signer } from '../../keys/signer.ts';
import { notForBareNodes, shortfall, type Authority, type Shortfall } from './authority.ts';

/** Whose signatures are wanted, and what is known of the keys. */
export interface SignersWanted {
  required: readonly Authority[];
  /** Sign too, as far as their keys are here. */
  wished?: readonly Authority[];
  /** Key id -> name, for messages. */
  keyNames: Readonly<Record<string, string>>;
  bareNodes: boolean;
  /** Keys by name; without it, as many of those that are here as are needed. */
  named?: readonly string[] | undefined;
}

/**
 * Chooses keys of this ring; nothing is unlocked yet.
 *
 * @returns `lacking`: what the chosen keys do not satisfy, null when it is enough.
 * @throws E_KEY_NOT_AUTHORIZED, E_KEY_MISSING for a key that was named.
 */
export async function chooseKeys(
  ring: KeyRing,
  wanted: SignersWanted,
): Promise<{ keys: KnownKey[]; lacking: Shortfall | null }> {
  const authorities = [...wanted.required, ...(wanted.wished ?? [])];
  const listed = new Set(authorities.flatMap(({ keyIds }) => keyIds));
  const here = await ring.list();
  const usable = here.filter(key => key.canSign && listed.has(key.keyId));
  const chosen = new Map<string, KnownKey>();
  if (wanted.named) {
    for (const name of wanted.named) chosen.set(name, requireKey(name, usable, here, wanted));
  } else {
    const bareFirst = [...usable].sort((a, b) => rank(a) - rank(b));
    for (const { keyIds, threshold } of authorities) {
      const already = [...chosen.values()].filter(key => keyIds.includes(key.keyId)).length;
      const more = bareFirst.filter(key => keyIds.includes(key.keyId) && !chosen.has(key.name));
      for (const key of more.slice(0, Math.max(0, threshold - already))) chosen.set(key.name, key);
    }
  }
  const keys = [...chosen.values()];
  const signing = new Set(keys.map(key => key.keyId));
  return { keys, lacking: shortfall(wanted.required, signing, wanted.bareNodes) };
}

/**
 * The signers of a role: those named, or as many as it needs of those that are here.
 *
 * @throws E_THRESHOLD_NOT_MET, E_KEY_SCHEME, E_KEY_NOT_AUTHORIZED, E_KEY_MISSING, E_PASSPHRASE_WRONG.
 */
export async function chooseSigners(ring: KeyRing, wanted: SignersWanted): Promise<Signer[]> {
  const { keys, lacking } = await chooseKeys(ring, wanted);
  if (lacking) throw notEnough(lacking, keys, wanted.keyNames);
  return Promise.all(keys.map(key => ring.signer(key.name)));
}

/** What too few signatures are refused with. */
export function notEnough(
  lacking: Shortfall,
  keys: readonly KnownKey[],
  keyNames: Readonly<Record<string, string>>,
  fix = 'Repeat it with --propose, and send the others what "release sign --export FILE" writes; or bring enough keys together with --keys.',
): Error {
  if (lacking.isOnlyForBareNodes) return notForBareNodes(lacking, 'is signed by');
  const { role, threshold, keyIds } = lacking.authority;
  const chosen = keys.filter(key => keyIds.includes(key.keyId)).map(key => key.name);
  return signingError({
    code: 'E_THRESHOLD_NOT_MET',
    message: `The role "${role}" needs ${threshold} signatures; there ${chosen.length === 1 ? 'is' : 'are'} ${chosen.length}.`,
    where: `role ${role}`,
    expected: `${threshold} of ${namesOf(keyIds, keyNames)}`,
    found: chosen.join(', ') || 'none of them',
    rule: `threshold of ${role}`,
    fix,
  });
}

export const namesOf = (keyIds: readonly string[], keyNames: Readonly<Record<string, string>>): string =>
  keyIds.map(id => keyNames[id] ?? id.slice(0, 12)).join(', ');

const rank = (key: KnownKey): number => (key.public.scheme === BARE_NODE_SCHEME ? 0 : 1);

function requireKey(
  name: string,
  usable: readonly KnownKey[],
  here: readonly KnownKey[],
  { required, keyNames }: SignersWanted,
): KnownKey {
  const found = usable.find(key => key.name === name);
  if (found) return found;
  const known = here.find(key => key.name === name);
  const isElsewhere = known?.canSign === false;
  const roles = [...new Set(required.map(({ role }) => role))].join(', ');
  throw signingError({
    code: known && !isElsewhere ? 'E_KEY_NOT_AUTHORIZED' : 'E_KEY_MISSING',
    message: isElsewhere
      ? `Only the public part of the key "${name}" is here.`
      : known
        ? `The key "${name}" may not sign the role "${roles}".`
        : `There is no key "${name}" in the keys directory.`,
    where: known?.where ?? `key ${name}`,
    expected: `keys of ${roles}: ${namesOf([...new Set(required.flatMap(({ keyIds }) => keyIds))], keyNames)}`,
    found: known ? `key id ${known.keyId.slice(0, 12)}` : here.map(key => key.name).join(', ') || 'no key',
    fix: isElsewhere ? 'Have its owner sign: release sign --export FILE.' : 'Name a key that the role lists.',
  });
}
