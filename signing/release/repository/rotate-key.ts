import type { Key } from '@tufjs/models';
import { libError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import { modelKey, type KnownKey } from '../../keys/signer.ts';
import { authorityOf, checkAuthority, type Authority } from './authority.ts';
import { readEventLog } from './event-log.ts';
import { places, type Role } from '../layout.ts';
import { signingState } from './publish.ts';
import { withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { draftsFor } from './rotation-drafts.ts';
import { stageRoles } from './stage-role.ts';

export interface RotateOptions {
  /** Roles that get the same change; a manager's key is usually in several. */
  roles: readonly Role[];
  /** Names of keys that go; without any, the only key of the role. */
  remove?: readonly string[] | undefined;
  /** Names of keys that come, whole or public parts only; without any, `NAME-next` is made for each that goes. */
  add?: readonly string[] | undefined;
  /** Makes nothing for keys that go. */
  withoutNew?: boolean | undefined;
  /** Signatures that the roles need from now on. */
  threshold?: number | undefined;
  /** Who signs; without it, as many of the keys that are here as are needed. */
  keyNames?: readonly string[] | undefined;
}

export interface RotateResult {
  /** What was signed, with the keys of each changed role. */
  roles: Record<string, { keys: string[]; threshold: number }>;
  /** Roles of which a new version is staged, or waits for more signatures. */
  signed: { role: string; version: number }[];
  created: string[];
  /** False: it waits for the signatures of others. */
  isStaged: boolean;
}

/**
 * Changes the keys of roles: a new root for root, targets, snapshot and timestamp, a new targets for the others, and the
 * role itself where its present signatures would no longer be enough (TUF 1.0.31 section 6.1). All of it is staged
 * together; publish signs snapshot and timestamp with old and new keys until the new root is public.
 *
 * @throws E_KEY_MISSING, E_KEY_SCHEME, E_THRESHOLD_NOT_MET, E_KEY_NOT_AUTHORIZED, E_PENDING_EXISTS, E_USAGE; what unlocking
 * keys throws.
 */
export const rotateKey = (context: ReleaseContext & RotateOptions): Promise<RotateResult> =>
  withRepository(context, async repository => {
    const { bareNodes } = repository.state.config;
    const used = await namesInUse(repository);
    const plan = await planKeys(repository, context, used);
    const changed = new Map<Role, Authority>();
    for (const role of context.roles) {
      const authority = nextAuthority(repository, role, plan, context.threshold);
      checkAuthority(authority, bareNodes);
      changed.set(role, authority);
    }
    refuseNothing(repository, changed);
    const drafts = draftsFor(repository, changed);
    await recordNames(repository, plan.added, used);
    const names = [...plan.removed, ...plan.added.map(key => key.name)];
    const details = { roles: context.roles.join(' '), keys: names.join(' ') || null };
    const state = signingState(repository);
    const { isStaged } = await stageRoles(state, { action: 'rotate-key', details }, drafts, context.keyNames);
    return {
      roles: Object.fromEntries(
        [...changed].map(([role, { keyIds, threshold }]) => [
          role,
          { keys: keyIds.map(id => repository.state.keyNames[id] ?? id.slice(0, 12)), threshold },
        ]),
      ),
      signed: drafts.map(({ role, signed }) => ({ role, version: signed.version })),
      created: plan.created,
      isStaged,
    };
  });

interface KeyPlan {
  removed: string[];
  added: KnownKey[];
  created: string[];
}

/** Which keys go and which come; makes the new ones. */
async function planKeys(repository: Repository, options: RotateOptions, used: NamesInUse): Promise<KeyPlan> {
  const { context, state } = repository;
  const removed = [...(options.remove ?? onlyKey(repository, options))];
  for (const role of options.roles) {
    const names = authorityOf(repository, role).keyIds.map(id => state.keyNames[id]);
    const stranger = removed.find(name => !names.includes(name));
    if (stranger !== undefined) throw notOfRole(stranger, role, names);
  }
  const here = await context.keys.list();
  const created: string[] = [];
  const added: KnownKey[] = [];
  for (const name of options.add ?? []) {
    const key = here.find(known => known.name === name);
    if (!key) throw notHere(name, here);
    added.push(key);
  }
  if (!options.add && !options.withoutNew) {
    for (const name of removed) {
      const next = freeName(used, name);
      const made = here.find(key => key.name === next); // by a rotation that was cut short
      if (!made) created.push(next);
      context.onStep?.(`make key ${next}`);
      added.push(made ?? (await context.keys.create(next)));
    }
  }
  const back = added.find(({ keyId }) => removed.includes(state.keyNames[keyId] ?? ''));
  if (back) throw sameKey(back, state.keyNames[back.keyId]!);
  return { removed, added, created };
}

/** Name -> key id of every key that is in a role or that the log tells of. */
type NamesInUse = ReadonlyMap<string, string>;

/** A name that a rotation recorded, and then was refused or cut short before its first signature, is free again. */
async function namesInUse(repository: Repository): Promise<NamesInUse> {
  const { root, targets, state, storage, anchor } = repository;
  const listed = { ...root.metadata.signed.keys, ...targets.metadata.signed.delegations?.keys };
  const logged = new Set<string>();
  for (const { keys, details } of (await readEventLog(storage, anchor)).entries) {
    for (const { name } of keys) logged.add(name);
    for (const name of String(details.keys ?? '').split(' ')) logged.add(name);
  }
  const names = Object.entries(state.keyNames);
  return new Map(
    names
      .filter(([id, name]) => Object.hasOwn(listed, id) || logged.has(name))
      .map(([id, name]) => [name, id]),
  );
}

/** `timestamp` -> `timestamp-next` -> `timestamp-next-2`: the first name that no key of the repository ever had. */
function freeName(taken: NamesInUse, name: string): string {
  const base = name.replace(/-next(-\d+)?$/, '') + '-next';
  for (let number = 1; ; number += 1) {
    const next = number === 1 ? base : `${base}-${number}`;
    if (!taken.has(next)) return next;
  }
}

/** Without names, the key of a role that has one only; a change of keys or threshold alone removes none. */
function onlyKey(repository: Repository, options: RotateOptions): string[] {
  if (options.add || options.threshold !== undefined) return [];
  const ids = new Set(options.roles.flatMap(role => authorityOf(repository, role).keyIds));
  const [id] = ids;
  if (ids.size === 1) return [repository.state.keyNames[id!] ?? id!.slice(0, 12)];
  const names = [...ids].map(keyId => repository.state.keyNames[keyId] ?? keyId.slice(0, 12));
  throw libError({
    code: 'E_USAGE',
    message: `The roles ${options.roles.join(', ')} have several keys: say which one goes.`,
    where: '--remove',
    expected: names.join(', '),
    fix: 'Name it with --remove NAME.',
  });
}

function nextAuthority(
  repository: Repository,
  role: Role,
  plan: KeyPlan,
  threshold: number | undefined,
): Authority {
  const present = authorityOf(repository, role);
  const kept = present.keyIds.filter(id => !plan.removed.includes(repository.state.keyNames[id] ?? ''));
  const keys: Record<string, Key> = { ...present.keys };
  for (const key of plan.added) keys[key.keyId] = modelKey(key);
  return {
    role,
    keyIds: [...new Set([...kept, ...plan.added.map(key => key.keyId)])],
    threshold: threshold ?? present.threshold,
    keys,
  };
}

/** @throws E_KEY_EXISTS when another key of the repository has one of the names, or one of the keys has another name. */
async function recordNames(
  repository: Repository,
  added: readonly KnownKey[],
  used: NamesInUse,
): Promise<void> {
  const { state, storage } = repository;
  const names = new Map([...used].map(([name, id]) => [id, name]));
  for (const key of added) {
    const { name, keyId, where } = key;
    const known = names.get(keyId);
    if (known !== undefined && known !== name) throw sameKey(key, known);
    const other = used.get(name);
    if (other === undefined || other === keyId) continue;
    throw signingError({
      code: 'E_KEY_EXISTS',
      message: `The repository knows another key by the name "${name}".`,
      where,
      expected: `key id ${other.slice(0, 12)}`,
      found: `key id ${keyId.slice(0, 12)}`,
      fix: 'Make the new key under a name that was never used: the log speaks of keys by name.',
    });
  }
  for (const { keyId, name } of added) names.set(keyId, name);
  state.keyNames = Object.fromEntries(names);
  await storage.replace(places.state, Buffer.from(JSON.stringify(state, null, 2) + '\n'));
}

function refuseNothing(repository: Repository, changed: ReadonlyMap<Role, Authority>): void {
  for (const [role, next] of changed) {
    const present = authorityOf(repository, role);
    const same =
      present.keyIds.length === next.keyIds.length && present.keyIds.every(id => next.keyIds.includes(id));
    if (!same || present.threshold !== next.threshold) return;
  }
  throw libError({
    code: 'E_USAGE',
    message: 'This changes no key and no threshold.',
    where: 'rotate-key',
    fix: 'Name keys with --add and --remove, or another --threshold.',
  });
}

const sameKey = ({ name, keyId, where }: KnownKey, known: string) =>
  signingError({
    code: 'E_KEY_EXISTS',
    message:
      name === known
        ? `The key "${name}" cannot go and come at once.`
        : `The key "${name}" is the one that the repository knows as "${known}".`,
    where,
    expected: 'a key that is new, or the name by which it is known',
    found: `key id ${keyId.slice(0, 12)}`,
    fix: 'Make a new key with "release key new"; look for a file that was copied under another name.',
  });

const notOfRole = (name: string, role: Role, names: readonly (string | undefined)[]) =>
  signingError({
    code: 'E_KEY_MISSING',
    message: `The role "${role}" has no key "${name}".`,
    where: '--remove',
    expected: names.join(', '),
    found: name.slice(0, 100),
    fix: 'Name a key of the role.',
  });

const notHere = (name: string, here: readonly KnownKey[]) =>
  signingError({
    code: 'E_KEY_MISSING',
    message: `There is no key "${name}" in the keys directory.`,
    where: '--add',
    expected: `${name}.key.json or ${name}.pub.json`,
    found: here.map(key => key.name).join(', ') || 'no key',
    fix: 'Make it with "release key new", or put the public part there that its owner wrote with "release key export".',
  });
