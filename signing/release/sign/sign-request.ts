import { libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import type { KeyRing, KnownKey } from '../../keys/signer.ts';
import { canonicalBytes } from '../../stable-json.ts';
import { namesOf } from '../repository/choose-signers.ts';
import type { PeoplesRole } from '../layout.ts';
import { describeRequest, requestText, type ItemDescription } from './describe-request.ts';
import { openRequest, type OpenedItem } from './open-request.ts';
import type { SigningRequest } from './signing-request.ts';

export interface SignedRequest {
  request: SigningRequest;
  /** What was shown. */
  items: ItemDescription[];
  /** Who signed what now; nothing where every key had signed before. */
  signed: { role: PeoplesRole; keys: string[] }[];
}

/**
 * Verifies a request, shows a person what it asks for, and signs it with the keys that are here.
 *
 * @param options.keyNames whose keys; without it all that are here and may sign.
 * @param options.roles only these; without it all of the request.
 * @param options.confirm shown the description, says whether to sign.
 * @throws as openRequest and describeRequest; E_KEY_NOT_AUTHORIZED, E_KEY_MISSING; E_ABORTED when not confirmed.
 */
export async function signRequest(options: {
  request: SigningRequest;
  where: string;
  keys: KeyRing;
  nowMs: number;
  pinnedRoot?: Uint8Array | undefined;
  keyNames?: readonly string[] | undefined;
  roles?: readonly string[] | undefined;
  confirm: (text: string) => Promise<boolean>;
}): Promise<SignedRequest> {
  const { request, keys } = options;
  const opened = openRequest(request, options);
  const items = describeRequest(opened, options.nowMs);
  const wanted = opened.items.filter(item => !options.roles || options.roles.includes(item.role));
  const here = await keysHere(keys, options.keyNames);
  const plan = wanted.map(item => ({ item, keys: here.filter(key => maySign(item, key)) }));
  if (plan.every(({ keys: fitting }) => fitting.length === 0))
    throw noKeyFits(wanted, here, request, options.where);
  const text = requestText(
    opened,
    items.filter(({ role }) => wanted.some(item => item.role === role)),
  );
  const todo = plan.map(({ item, keys: fitting }) => ({
    item,
    keys: fitting.filter(key => !item.signedBy.includes(key.keyId)),
  }));
  if (todo.every(({ keys: left }) => left.length === 0)) return { request, items, signed: [] };
  const signing = todo.flatMap(({ item, keys: left }) => left.map(key => `${item.role} with ${key.name}`));
  if (!(await options.confirm(`${text}\nTo be signed now: ${signing.join(', ')}.`))) {
    throw libError({ code: 'E_ABORTED', message: 'Nothing was signed.', fix: 'Run it again to sign.' });
  }
  const added = new Map<PeoplesRole, { keyid: string; sig: string }[]>();
  for (const { item, keys: left } of todo) {
    const bytes = canonicalBytes(item.next.signed.toJSON());
    const signatures = [];
    for (const key of left) {
      const signer = await keys.signer(key.name);
      signatures.push({ keyid: key.keyId, sig: (await signer.sign(bytes)).toString('hex') });
    }
    added.set(item.role, signatures);
  }
  return {
    request: {
      ...request,
      items: request.items.map(({ role, metadata }) => ({
        role,
        metadata: {
          ...metadata,
          signatures: [...metadata.signatures, ...(added.get(role) ?? [])].sort((a, b) =>
            a.keyid < b.keyid ? -1 : 1,
          ),
        },
      })),
    },
    items,
    signed: todo
      .filter(({ keys: left }) => left.length > 0)
      .map(({ item, keys: left }) => ({ role: item.role, keys: left.map(key => key.name) })),
  };
}

const maySign = (item: OpenedItem, key: KnownKey): boolean =>
  [...item.required, ...item.wished].some(({ keyIds }) => keyIds.includes(key.keyId));

async function keysHere(ring: KeyRing, names: readonly string[] | undefined): Promise<KnownKey[]> {
  const here = (await ring.list()).filter(key => key.canSign);
  for (const name of names ?? []) {
    if (here.some(key => key.name === name)) continue;
    throw signingError({
      code: 'E_KEY_MISSING',
      message: `There is no key "${name}" in the keys directory that can sign.`,
      where: `key ${name}`,
      found: here.map(key => key.name).join(', ') || 'no key',
      fix: 'Name a key that "release key list" shows.',
    });
  }
  return names ? here.filter(key => names.includes(key.name)) : here;
}

const noKeyFits = (
  items: readonly OpenedItem[],
  here: readonly KnownKey[],
  request: SigningRequest,
  where: string,
) =>
  signingError({
    code: 'E_KEY_NOT_AUTHORIZED',
    message: `None of the keys here may sign ${items.map(({ role }) => role).join(', ') || 'what was asked for'}.`,
    where,
    expected: namesOf(
      [...new Set(items.flatMap(item => item.required.flatMap(({ keyIds }) => keyIds)))],
      request.names,
    ),
    found: here.map(key => `${key.name} (${key.keyId.slice(0, 12)})`).join(', ') || 'no key',
    fix: 'Name the directory of a key that the role lists with --keys.',
  });
