import type { Metadata, Root, Targets } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import {
  shortfall,
  signersNeeded,
  type Authority,
  type Shortfall,
  type Trust,
} from '../repository/authority.ts';
import type { PeoplesRole } from '../layout.ts';
import { nextVersion } from '../repository/next-version.ts';
import { sha256Of } from '../metadata/role-metadata.ts';
import { trustWith } from '../repository/stage-role.ts';
import { verifyDelegate } from '../metadata/verify-delegate.ts';
import {
  bytesOf,
  filesOf,
  invalidRequest,
  isSmallTarget,
  metadataIn,
  type SigningRequest,
} from './signing-request.ts';

/** A request of which everything was verified that can be verified without the repository. */
export interface OpenedRequest {
  request: SigningRequest;
  where: string;
  root: Metadata<Root>;
  /** Sha-256 of the first root of the chain that was followed. */
  rootSha256: string;
  /** True: the chain begins at a root that the reader has pinned, so its keys are the right ones. */
  isPinned: boolean;
  targets: Metadata<Targets>;
  releases: Metadata<Targets>;
  items: OpenedItem[];
  /** Small targets by sha256. */
  files: Map<string, unknown>;
}

/** The next version of one role. */
export interface OpenedItem {
  role: PeoplesRole;
  next: Metadata<Root> | Metadata<Targets>;
  before: Metadata<Root> | Metadata<Targets>;
  /** Whose signatures it needs, and whose are welcome too. */
  required: Authority[];
  wished: Authority[];
  /** Key ids of valid signatures. */
  signedBy: string[];
  lacking: Shortfall | null;
}

/**
 * Verifies a request: the chain of roots, who may sign, the versions that are in force, the signatures that there are, and
 * that every small target it introduces is there by content.
 *
 * @param options.pinnedRoot bytes of a root that the reader trusts; without it the chain proves only that it fits together.
 * @throws E_REQUEST_INVALID, E_REQUEST_SIGNATURE, E_TUF_SIGNATURE, E_TUF_EXPIRED, E_KEY_NOT_AUTHORIZED.
 */
export function openRequest(
  request: SigningRequest,
  options: { where: string; nowMs: number; pinnedRoot?: Uint8Array | undefined },
): OpenedRequest {
  const { where } = options;
  const chain = rootsFrom(request, where, options.pinnedRoot);
  const root = chain.at(-1)!;
  const current = (role: PeoplesRole): Metadata<Targets> => {
    const envelope = request.current[role];
    if (!envelope) throw invalidRequest(`it lacks the present ${role}`, where);
    return metadataIn(envelope, role, where) as Metadata<Targets>;
  };
  const verify = (
    delegator: Metadata<Root> | Metadata<Targets>,
    role: PeoplesRole,
    found: Metadata<Targets>,
  ) =>
    verifyDelegate(delegator, role, found, {
      message: `The present ${role} in this request is not properly signed`,
      where,
      rule: `threshold of ${role}`,
      fix: 'Ask for a new request; if that has it too, have the repository verified.',
    });
  const targets = current('targets');
  verify(root, 'targets', targets);
  const releases = current('releases');
  verify(targets, 'releases', releases);

  const now: Trust = { root: { metadata: root }, targets: { metadata: targets } };
  const drafts = request.items.map(({ role, metadata }) => ({
    role,
    metadata: metadataIn(metadata, role, where),
  }));
  if (new Set(drafts.map(({ role }) => role)).size < drafts.length) {
    throw invalidRequest('it names a role twice', where);
  }
  const next = trustWith(
    now,
    drafts.map(({ role, metadata }) => ({ role, signed: metadata.signed })),
  );
  const items = drafts.map(({ role, metadata }): OpenedItem => {
    const before = role === 'root' ? root : current(role);
    if (role !== 'root' && role !== 'targets') verify(targets, role, before as Metadata<Targets>);
    if (metadata.signed.version !== nextVersion(request, role, before.signed.version)) {
      throw invalidRequest(
        `${role} ${metadata.signed.version} does not follow ${before.signed.version}`,
        where,
      );
    }
    if (!(Date.parse(metadata.signed.expires) > options.nowMs))
      throw expired(role, metadata.signed.expires, where);
    const { required, wished } = signersNeeded(role, now, next);
    const signedBy = Object.keys(metadata.signatures);
    for (const keyId of signedBy) checkSignature(metadata, keyId, [...required, ...wished], role, where);
    return {
      role,
      next: metadata,
      before,
      required,
      wished,
      signedBy,
      lacking: shortfall(required, new Set(signedBy), false),
    };
  });
  const opened: OpenedRequest = {
    request,
    where,
    root,
    rootSha256: sha256Of(bytesOf(request.roots[0])),
    isPinned: options.pinnedRoot !== undefined,
    targets,
    releases,
    items,
    files: filesOf(request),
  };
  for (const item of items) requireFiles(opened, item);
  return opened;
}

/** @throws E_KEY_NOT_AUTHORIZED, E_REQUEST_SIGNATURE. */
export function checkSignature(
  metadata: Metadata<Root> | Metadata<Targets>,
  keyId: string,
  authorities: readonly Authority[],
  role: string,
  where: string,
): void {
  const authority = authorities.find(({ keyIds }) => keyIds.includes(keyId));
  const key = authority?.keys[keyId];
  if (!key) {
    throw signingError({
      code: 'E_KEY_NOT_AUTHORIZED',
      message: `The role "${role}" is signed by a key that may not sign it.`,
      where,
      expected: `keys of ${role}: ${authorities.flatMap(({ keyIds }) => keyIds.map(id => id.slice(0, 12))).join(', ')}`,
      found: `key id ${keyId.slice(0, 12)}`,
      rule: 'only keys that the delegator lists count',
      fix: 'Ask whoever signed to use the right key.',
    });
  }
  try {
    key.verifySignature(metadata);
  } catch (error) {
    throw signingError({
      code: 'E_REQUEST_SIGNATURE',
      message: `A signature of the role "${role}" is not of the bytes that are to be signed.`,
      where,
      expected: `a ${key.scheme} signature of key ${keyId.slice(0, 12)}`,
      found: 'a signature of something else, or none',
      rule: 'every signature is verified before it is kept',
      fix: 'Ask the owner of this key to sign the request again.',
      cause: error,
    });
  }
}

/** The chain of roots from the pinned one, or from the first; each signed by the keys of the one before and its own. */
function rootsFrom(request: SigningRequest, where: string, pinned?: Uint8Array): Metadata<Root>[] {
  const roots = request.roots.map(envelope => metadataIn(envelope, 'root', where));
  const refusal = {
    message: 'The chain of roots in this request does not hold',
    where,
    rule: 'each root is signed by the keys of the one before it',
    fix: 'Do not sign; ask the people who hold the root keys.',
  };
  roots.forEach((root, index) => {
    const before = roots[index - 1] ?? root;
    if (index > 0 && root.signed.version !== before.signed.version + 1) {
      throw invalidRequest(`root ${root.signed.version} does not follow ${before.signed.version}`, where);
    }
    verifyDelegate(before, 'root', root, refusal);
    verifyDelegate(root, 'root', root, refusal);
  });
  if (!pinned) return roots;
  const wanted = sha256Of(pinned);
  const start = request.roots.findIndex(envelope => sha256Of(bytesOf(envelope)) === wanted);
  if (start >= 0) return roots.slice(start);
  throw signingError({
    code: 'E_TUF_SIGNATURE',
    message: 'This request does not come from the repository of the pinned root.',
    where,
    expected: `a chain with the root of sha256 ${wanted}`,
    found: `roots ${roots[0]!.signed.version} to ${roots.at(-1)!.signed.version}, the first with sha256 ${sha256Of(bytesOf(request.roots[0]))}`,
    rule: 'the chain of roots begins at the pinned one',
    fix: 'Do not sign; check the file that --root names, and who sent the request.',
  });
}

function requireFiles(opened: OpenedRequest, { role, next, before }: OpenedItem): void {
  if (role === 'root') return;
  for (const signed of [next.signed as Targets, before.signed as Targets]) {
    for (const [path, target] of Object.entries(signed.targets)) {
      if (!isSmallTarget(path)) continue;
      const content = opened.files.get(target.hashes.sha256 ?? '');
      if (content !== undefined && bytesOf(content).length === target.length) continue;
      throw invalidRequest(
        `it lacks the content of ${path}, or has another than is to be signed`,
        opened.where,
      );
    }
  }
}

export const expired = (role: string, expires: string, where: string) =>
  signingError({
    code: 'E_TUF_EXPIRED',
    message: `What is to be signed for the role "${role}" expired on ${expires}.`,
    where,
    rule: `expiry of ${role}`,
    fix: `Propose it again: release sign --drop ${role}, then the command with --propose.`,
  });
