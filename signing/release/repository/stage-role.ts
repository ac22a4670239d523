import { Metadata, type Root, type Targets } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import type { KeyRing, KnownKey, Signer } from '../../keys/signer.ts';
import { signersNeeded, type Trust } from './authority.ts';
import { chooseKeys, notEnough } from './choose-signers.ts';
import { appendEvent, type LogAnchor, type LogEntry } from './event-log.ts';
import { metadataName, places, type PeoplesRole, type Role } from '../layout.ts';
import { moveToStaged } from '../sign/move-staged.ts';
import { writePending } from '../sign/pending.ts';
import type { ReleaseContext } from './repository.ts';
import { delegate } from '../metadata/metadata-rules.ts';
import {
  expiryDate,
  parseMetadata,
  sha256Of,
  signMetadata,
  typeOf,
  type AnySigned,
} from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import type { AnyMetadata } from '../metadata/verify-delegate.ts';
import { versionedNames } from './versioned-names.ts';

/** The part of a repository that signing needs; there before the repository is. */
export interface SigningState extends Trust {
  context: ReleaseContext;
  storage: Storage;
  keyNames: Record<string, string>;
  /** The shell bootstrap must be able to verify what is signed. */
  bareNodes: boolean;
  anchor: LogAnchor | null;
}

export interface RoleEvent {
  action: string;
  details?: LogEntry['details'];
}

/** The next version of a role, unsigned. */
export interface Draft {
  role: PeoplesRole;
  signed: Root | Targets;
}

export interface StageResult {
  /** False: it waits for more signatures. */
  isStaged: boolean;
  /** How many more, of the role that is named. */
  missing: number;
  bytes: Record<string, Buffer>;
}

/**
 * Signs the next version of a role and stages it for the next publish; the version staged before is dropped.
 *
 * @param makeSigned given the expiry date, makes the signed part.
 * @throws as {@link stageRoles}.
 */
export async function stageRole(
  state: SigningState,
  event: RoleEvent & { role: PeoplesRole },
  options: { expiresSeconds: number; keyNames?: readonly string[] | undefined },
  makeSigned: (expires: string) => Root | Targets,
): Promise<Buffer> {
  const signed = makeSigned(expiryDate(state.context.clock.now(), options.expiresSeconds));
  const { bytes } = await stageRoles(state, event, [{ role: event.role, signed }], options.keyNames);
  return bytes[event.role]!;
}

/**
 * Signs the next versions of roles that belong together and stages them together. With `propose` in the context and too
 * few keys here, they wait in `pending/` with the signatures that could be made.
 *
 * @param drafts a root or targets among them says who must sign the others.
 * @throws E_THRESHOLD_NOT_MET, E_KEY_SCHEME, E_KEY_NOT_AUTHORIZED, E_KEY_MISSING, E_PASSPHRASE_WRONG, E_PENDING_EXISTS.
 */
export async function stageRoles(
  state: SigningState,
  event: RoleEvent,
  drafts: readonly Draft[],
  keyNames?: readonly string[],
): Promise<StageResult> {
  const { context, storage } = state;
  const next = trustWith(state, drafts);
  if (keyNames) {
    const needed = drafts.map(({ role }) => signersNeeded(role, state, next));
    const required = needed.flatMap(authorities => [...authorities.required, ...authorities.wished]);
    await chooseKeys(context.keys, { ...state, required, named: keyNames }); // refuses names that fit no role
  }
  const here = await context.keys.list();
  const plans = [];
  for (const draft of drafts) {
    const { required, wished } = signersNeeded(draft.role, state, next);
    const listed = new Set([...required, ...wished].flatMap(({ keyIds }) => keyIds));
    const fitting = here.filter(key => listed.has(key.keyId)).map(key => key.name);
    const named = keyNames?.filter(name => fitting.includes(name));
    const { keys, lacking } = await chooseKeys(context.keys, { ...state, required, wished, named });
    if (lacking && context.propose !== true) throw notEnough(lacking, keys, state.keyNames);
    plans.push({ draft, keys, lacking });
  }
  const lacking = plans.find(plan => plan.lacking)?.lacking ?? null;
  if (lacking) await refusePending(storage, drafts);

  const files = new Map<string, Buffer>();
  const bytes: StageResult['bytes'] = {};
  for (const { draft, keys } of plans) {
    const { role, signed } = draft;
    const signers = await Promise.all(keys.map(key => context.keys.signer(key.name)));
    context.onStep?.(`sign ${role}`);
    const made = await signMetadata(signed, signers);
    if (!lacking) verifyMade(role, made, next);
    bytes[role] = made;
    const { action, details } = event;
    const logged = lacking ? { action: 'propose', details: { ...details, action } } : { action, details };
    await logEvent(state, { role, ...logged }, signed, signers, sha256Of(made));
    files.set(metadataName(role, signed.version), made);
  }
  for (const { role } of drafts) context.onStep?.(`${lacking ? 'propose' : 'stage'} ${role}`);
  if (!lacking) await moveToStaged(storage, files);
  else for (const { role, signed } of drafts) await writePending(storage, role, signed.version, bytes[role]!);
  if (lacking) context.onProposed?.(drafts.map(draft => draft.role));
  return { isStaged: !lacking, missing: lacking?.missing ?? 0, bytes };
}

/** What is staged must verify as clients will verify it. */
function verifyMade(role: PeoplesRole, bytes: Buffer, next: Trust): void {
  const metadata = parseMetadata(typeOf(role), bytes, role) as AnyMetadata;
  const isTop = role === 'root' || role === 'targets';
  delegate((isTop ? next.root : next.targets).metadata, role, metadata, role);
}

async function refusePending(storage: Storage, drafts: readonly Draft[]): Promise<void> {
  for (const { path, role, version } of await versionedNames(storage, places.pending)) {
    if (!drafts.some(draft => draft.role === role && draft.signed.version === version)) continue;
    throw signingError({
      code: 'E_PENDING_EXISTS',
      message: `Another proposal for the role "${role}" waits for signatures.`,
      where: storage.where(path),
      found: `version ${version}`,
      fix: `Complete it (release sign --list), or drop it: release sign --drop ${role}`,
    });
  }
}

/** Who says who signs what, once the root and targets among these drafts are in force. */
export function trustWith(now: Trust, drafts: readonly Draft[]): Trust {
  const root = drafts.find(draft => draft.role === 'root')?.signed as Root | undefined;
  const targets = drafts.find(draft => draft.role === 'targets')?.signed as Targets | undefined;
  return {
    root: root ? { metadata: new Metadata(root) } : now.root,
    targets: targets ? { metadata: new Metadata(targets) } : now.targets,
  };
}

/** Appends what was signed to the log; always before the signature leaves. */
export const logEvent = (
  state: SigningState,
  event: RoleEvent & { role: Role },
  signed: AnySigned,
  signers: readonly Pick<Signer, 'name' | 'keyId'>[],
  sha256: string | null,
): Promise<LogAnchor> =>
  appendEvent(
    state.storage,
    {
      at: new Date(state.context.clock.now()).toISOString(),
      by: (state.context.actor ?? 'unknown').replace(/[^A-Za-z0-9@._-]/g, '_'),
      action: event.action,
      role: event.role,
      version: signed.version,
      sha256,
      keys: signers.map(({ name, keyId }) => ({ name, keyId })),
      details: event.details ?? {},
    },
    state.anchor,
  );

/** The keys of a ring by name. */
export const keysByName = async (keys: KeyRing): Promise<Map<string, KnownKey>> =>
  new Map((await keys.list()).map(key => [key.name, key]));
