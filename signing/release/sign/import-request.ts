import type { Metadata, Root, Targets } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { canonicalBytes } from '../../stable-json.ts';
import { shortfall, signersNeeded } from '../repository/authority.ts';
import { places, metadataName, type PeoplesRole } from '../layout.ts';
import { joinSignatures, newestVersion, readPending, writePending, type Pending } from './pending.ts';
import { signingState } from '../repository/publish.ts';
import { metadataPlace, type Repository } from '../repository/repository.ts';
import { MAX_METADATA_BYTES, sha256Of } from '../metadata/role-metadata.ts';
import { logEvent, trustWith } from '../repository/stage-role.ts';
import { checkSignature, expired } from './open-request.ts';
import { settlePending } from './settle-pending.ts';
import { bytesOf, metadataIn, type SigningRequest } from './signing-request.ts';

export interface ImportedItem {
  role: PeoplesRole;
  version: number;
  /** Names of those whose signatures are new. */
  added: string[];
  /** `staged`: enough people signed, the next publish takes it. `complete`: so it was before. */
  state: 'pending' | 'staged' | 'complete';
  /** Signatures still missing. */
  missing: number;
}

/**
 * Takes the signatures of a request over into what waits here, and stages what has enough. The order of imports makes no
 * difference, and the same request twice changes nothing. Nothing is taken from a request of which anything is wrong.
 *
 * @throws E_REQUEST_INVALID, E_REQUEST_SUPERSEDED, E_REQUEST_CHANGED, E_REQUEST_SIGNATURE, E_KEY_NOT_AUTHORIZED,
 * E_TUF_EXPIRED, E_LOG_TAMPERED.
 */
export async function importRequest(
  repository: Repository,
  request: SigningRequest,
  where: string,
): Promise<ImportedItem[]> {
  const pending = await readPending(repository);
  const next = trustWith(
    repository,
    pending.map(({ role, metadata }) => ({ role, signed: metadata.signed })),
  );
  const judged = [];
  for (const { role, metadata: envelope } of request.items) {
    const metadata = metadataIn(envelope, role, where);
    const waiting = pending.find(item => item.role === role && item.version === metadata.signed.version);
    if (!waiting) {
      if (!(await isComplete(repository, role, metadata)))
        throw superseded(repository, role, metadata, pending, where);
      judged.push({ role, metadata, waiting: null, added: [] });
      continue;
    }
    if (!sameSigned(metadata, waiting.metadata)) throw changed(role, metadata.signed.version, where);
    if (!(Date.parse(metadata.signed.expires) > repository.context.clock.now())) {
      throw expired(role, metadata.signed.expires, where);
    }
    const { required, wished } = signersNeeded(role, repository, next);
    for (const keyId of Object.keys(metadata.signatures)) {
      checkSignature(metadata, keyId, [...required, ...wished], role, where);
    }
    const added = Object.keys(metadata.signatures).filter(keyId => !waiting.metadata.signatures[keyId]);
    judged.push({ role, metadata, waiting, added });
  }

  for (const { role, metadata, waiting, added } of judged) {
    if (waiting && added.length > 0) await keep(repository, waiting, metadata, role, added);
  }
  const staged = await settlePending(repository);
  const left = await readPending(repository);
  return judged.map(({ role, metadata, waiting, added }): ImportedItem => {
    const item = left.find(found => found.role === role && !staged.includes(role));
    const state = !waiting ? 'complete' : staged.includes(role) ? 'staged' : 'pending';
    return {
      role,
      version: metadata.signed.version,
      added: added.map(id => nameOf(repository, id)),
      state,
      missing: item && state === 'pending' ? missingOf(repository, item, left) : 0,
    };
  });
}

/** How many signatures something that waits still lacks. */
export function missingOf(repository: Repository, item: Pending, pending: readonly Pending[]): number {
  const next = trustWith(
    repository,
    pending.map(({ role, metadata }) => ({ role, signed: metadata.signed })),
  );
  const { required } = signersNeeded(item.role, repository, next);
  const signedBy = new Set(Object.keys(item.metadata.signatures));
  return shortfall(required, signedBy, repository.state.config.bareNodes)?.missing ?? 0;
}

const nameOf = (repository: Repository, keyId: string): string =>
  repository.state.keyNames[keyId] ?? keyId.slice(0, 12);

async function keep(
  repository: Repository,
  waiting: Pending,
  metadata: Metadata<Root> | Metadata<Targets>,
  role: PeoplesRole,
  added: readonly string[],
): Promise<void> {
  const signatures: Record<string, string> = {};
  for (const from of [metadata, waiting.metadata]) {
    for (const [keyId, { sig }] of Object.entries(from.signatures)) signatures[keyId] = sig;
  }
  const { signed } = waiting.metadata;
  const bytes = joinSignatures(signed.toJSON(), signatures);
  const signers = added.map(keyId => ({ keyId, name: nameOf(repository, keyId) }));
  await logEvent(signingState(repository), { role, action: 'sign' }, signed, signers, sha256Of(bytes));
  repository.context.onStep?.(`keep the signatures of ${role}`);
  await writePending(repository.storage, role, waiting.version, bytes);
}

/** Whether exactly this was signed by enough people before. */
async function isComplete(
  repository: Repository,
  role: PeoplesRole,
  metadata: Metadata<Root> | Metadata<Targets>,
): Promise<boolean> {
  const { version } = metadata.signed;
  for (const path of [metadataPlace(role, version), `${places.staged}/${metadataName(role, version)}`]) {
    const bytes = await repository.storage.read(path, MAX_METADATA_BYTES);
    if (!bytes) continue;
    const { signed } = JSON.parse(bytes.toString('utf8')) as { signed: object };
    if (bytesOf(signed).equals(bytesOf(metadata.signed.toJSON()))) return true;
  }
  return false;
}

const sameSigned = (a: Metadata<Root> | Metadata<Targets>, b: Metadata<Root> | Metadata<Targets>): boolean =>
  canonicalBytes(a.signed.toJSON()).equals(canonicalBytes(b.signed.toJSON()));

function superseded(
  repository: Repository,
  role: PeoplesRole,
  metadata: Metadata<Root> | Metadata<Targets>,
  pending: readonly Pending[],
  where: string,
) {
  const waits = pending.find(item => item.role === role);
  return signingError({
    code: 'E_REQUEST_SUPERSEDED',
    message: `Version ${metadata.signed.version} of the role "${role}" no longer waits for signatures.`,
    where,
    expected: waits
      ? `version ${waits.version}, which waits now`
      : `nothing: version ${newestVersion(repository, role)} is signed, and no other was proposed`,
    found: `version ${metadata.signed.version}`,
    rule: 'signatures count only for what waits in this repository now',
    fix: 'Make a new request: release sign --export FILE.',
  });
}

const changed = (role: PeoplesRole, version: number, where: string) =>
  signingError({
    code: 'E_REQUEST_CHANGED',
    message: `The request signs another version ${version} of the role "${role}" than the one that waits.`,
    where,
    rule: 'signatures count only for the very bytes that wait',
    fix: 'It was altered, or proposed again since: look who sent it, and make a new request with release sign --export FILE.',
  });
