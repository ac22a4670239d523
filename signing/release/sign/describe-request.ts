import type * as z from 'zod';
import { PublicKeyParts, publicKeyOf } from '../../keys/key-scheme.ts';
import { keyIdOf } from '../../keys/signer.ts';
import { channels, channelTarget, QUEUES_TARGET } from '../layout.ts';
import { channelChanges, queueChanges } from './describe-small-targets.ts';
import { RootForm, TargetsForm } from './signed-form.ts';
import { invalidRequest, isSmallTarget } from './signing-request.ts';
import type { OpenedItem, OpenedRequest } from './open-request.ts';

/** What a person signs, in words; made from the bytes that are to be signed and nothing else. */
export interface ItemDescription {
  role: string;
  version: number;
  expires: string;
  changes: string[];
  signedBy: string[];
  missing: number;
}

interface Keys {
  [keyId: string]: { scheme: string };
}
interface Roles {
  [role: string]: { keyids: string[]; threshold: number; paths?: string[]; terminating?: boolean };
}

/**
 * Says what changes with each role of a request.
 *
 * @throws E_REQUEST_INVALID for anything that could not be shown; E_CHANNEL_MISMATCH, E_TARGET_UNKNOWN for a channel that
 * would name a build that `releases` does not sign.
 */
export function describeRequest(opened: OpenedRequest, nowMs: number): ItemDescription[] {
  return opened.items.map(item => ({
    role: item.role,
    version: item.next.signed.version,
    expires: item.next.signed.expires,
    changes: changesOf(opened, item, nowMs),
    signedBy: item.signedBy.map(id => nameOf(opened, id)),
    missing: item.lacking?.missing ?? 0,
  }));
}

/** Name and begin of the key id; the name is what the request says, the id is what counts. */
const nameOf = (opened: OpenedRequest, keyId: string, digits = 16): string => {
  const name = opened.request.names[keyId]?.replace(/[^A-Za-z0-9._-]/g, '?');
  return `${name ?? 'a key without a name'} (${keyId.slice(0, digits)})`;
};

function changesOf(opened: OpenedRequest, item: OpenedItem, nowMs: number): string[] {
  const changes: string[] = [];
  const [present, version] = [item.before.signed.version, item.next.signed.version];
  if (version !== present + 1) {
    changes.push(
      `${item.role}: the version jumps from ${present} to ${version}: right only after a loss (release recover --past)`,
    );
  }
  if (item.role === 'root') {
    const [before, next] = [form(RootForm, item, 'before', opened), form(RootForm, item, 'next', opened)];
    changes.push(...roleChanges(opened, before.roles, next.roles, next.keys));
  } else {
    const [before, next] = [
      form(TargetsForm, item, 'before', opened),
      form(TargetsForm, item, 'next', opened),
    ];
    if ((item.role === 'targets') !== (next.delegations !== undefined)) {
      throw invalidRequest(
        `${item.role} ${next.delegations ? 'delegates' : 'delegates nothing'}`,
        opened.where,
      );
    }
    changes.push(
      ...roleChanges(opened, byName(before), byName(next), next.delegations?.keys ?? {}),
      ...orderChanges(before, next),
      ...targetChanges(opened, before.targets, next.targets, nowMs),
    );
  }
  // A text that was signed cannot draw lines of its own, nor push its words to the begin of a terminal's next line.
  return changes.length > 0
    ? changes.map(change => change.replace(/[^\x20-\x7e]/g, '?').replace(/ {2,}/g, ' '))
    : ['no change of content: signed again with a new expiry date'];
}

function form<T extends RootForm | TargetsForm>(
  schema: z.ZodType<T>,
  item: OpenedItem,
  which: 'before' | 'next',
  opened: OpenedRequest,
): T {
  const parsed = schema.safeParse(item[which].signed.toJSON());
  if (parsed.success) {
    requireOwnIds(parsed.data, item, opened.where);
    return parsed.data;
  }
  const [issue] = parsed.error.issues;
  throw invalidRequest(
    `${item.role} cannot be shown: ${issue!.path.join('.') || 'content'}: ${issue!.message}`,
    opened.where,
  );
}

/**
 * Keys are shown by their ids, so an id must be that of its key: else another key could hide behind a known id. And a key
 * must have its one form: else it could stand there twice, and count once.
 */
function requireOwnIds(signed: RootForm | TargetsForm, { role }: OpenedItem, where: string): void {
  const keys = ('keys' in signed ? signed.keys : signed.delegations?.keys) ?? {};
  for (const [keyId, key] of Object.entries(keys)) {
    const parts = PublicKeyParts.safeParse(key).data;
    if (!parts || keyIdOf(parts) !== keyId) {
      throw invalidRequest(`${role} lists another key under the id ${keyId.slice(0, 16)}`, where);
    }
    publicKeyOf(parts, where);
  }
}

const byName = ({ delegations }: TargetsForm): Roles =>
  Object.fromEntries((delegations?.roles ?? []).map(role => [role.name, role]));

const orderChanges = (before: TargetsForm, next: TargetsForm): string[] => {
  const [was, is] = [before, next].map(({ delegations }) =>
    delegations?.roles.map(role => role.name).join(', '),
  );
  return was === is ? [] : [`order of the delegations: ${was} -> ${is}`];
};

function roleChanges(opened: OpenedRequest, before: Roles, next: Roles, keys: Keys): string[] {
  const changes: string[] = [];
  for (const role of new Set([...Object.keys(before), ...Object.keys(next)])) {
    const [was, is] = [before[role], next[role]];
    if (!is || !was) {
      changes.push(`${role}: the role is ${is ? 'new' : 'removed'}`);
      if (!is) continue;
    }
    if (is.threshold > is.keyids.length || is.keyids.some(id => !keys[id])) {
      throw invalidRequest(`nobody could sign ${role} any more: it would lack keys`, opened.where);
    }
    for (const id of is.keyids.filter(key => !was?.keyids.includes(key))) {
      changes.push(`${role}: key added: ${nameOf(opened, id, id.length)}, ${keys[id]!.scheme}`);
    }
    for (const id of was?.keyids.filter(key => !is.keyids.includes(key)) ?? []) {
      changes.push(`${role}: key removed: ${nameOf(opened, id)}`);
    }
    if (was?.threshold !== is.threshold) {
      changes.push(`${role}: signatures needed: ${was?.threshold ?? 'none'} -> ${is.threshold}`);
    }
    const paths = (of: Roles[string] | undefined) => of?.paths?.join(', ') ?? 'none';
    if (paths(was) !== paths(is)) changes.push(`${role}: may sign ${paths(was)} -> ${paths(is)}`);
    if (was?.terminating !== is.terminating) {
      changes.push(`${role}: ${is.terminating ? 'ends' : 'does not end'} the search for its paths`);
    }
  }
  return changes;
}

type TargetForms = TargetsForm['targets'];

function targetChanges(
  opened: OpenedRequest,
  before: TargetForms,
  next: TargetForms,
  nowMs: number,
): string[] {
  const changes: string[] = [];
  for (const path of new Set([...Object.keys(before), ...Object.keys(next)])) {
    const [was, is] = [before[path], next[path]];
    if (JSON.stringify(was) === JSON.stringify(is)) continue;
    const channel = channels.find(name => channelTarget(name) === path);
    if (is?.custom && isSmallTarget(path)) {
      throw invalidRequest(`${path} has fields beside its content`, opened.where);
    }
    const contentOf = (target: typeof is) => (target ? opened.files.get(target.hashes.sha256) : undefined);
    if (channel && is) changes.push(...channelChanges(opened, channel, contentOf(was), contentOf(is), nowMs));
    else if (path === QUEUES_TARGET && is)
      changes.push(...queueChanges(opened, contentOf(was), contentOf(is)));
    else if (is)
      changes.push(
        `${was ? 'REPLACED' : 'added'}: ${path}, ${is.length} bytes, sha256 ${is.hashes.sha256}${customText(is.custom)}`,
      );
    else changes.push(`removed: ${path}, sha256 ${was!.hashes.sha256}`);
  }
  return changes;
}

/** All of `custom` but the hashes of single files, which are bound by the hash of the whole. */
function customText(custom: TargetForms[string]['custom']): string {
  const { files, ...rest } = custom ?? {};
  const fields = Object.entries(rest).map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  if (files) fields.push(`${Object.keys(files).length} files`);
  return fields.length ? `, ${fields.join(', ')}` : '';
}

/** For a terminal: who is asked to sign what, and on whose word the keys are right. */
export function requestText(opened: OpenedRequest, items: readonly ItemDescription[]): string {
  return [
    opened.isPinned
      ? `Signing request; its chain of roots holds from the pinned root on (now version ${opened.root.signed.version}).`
      : `Signing request; its first root has sha256 ${opened.rootSha256}.\n  NOT compared with a pinned root: give --root, or compare this sha256 with one you trust.`,
    ...items.flatMap(({ role, version, expires, changes, signedBy, missing }) => [
      `${role} version ${version}, good until ${expires}:`,
      ...changes.map(change => `  ${change}`),
      `  signed by: ${signedBy.join(', ') || 'nobody yet'}; ${missing === 0 ? 'enough signatures' : `${missing} more needed`}`,
    ]),
  ].join('\n');
}
