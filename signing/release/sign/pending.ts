import type { Metadata, Root, Targets } from '@tufjs/models';
import { stableJson } from '../../stable-json.ts';
import { metadataName, peoplesRoles, places, type PeoplesRole } from '../layout.ts';
import { removePending } from './move-staged.ts';
import { nextVersion } from '../repository/next-version.ts';
import { readMetadata, type Repository } from '../repository/repository.ts';
import { parseMetadata, typeOf } from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import { versionedNames } from '../repository/versioned-names.ts';

/** The next version of a role that waits for more signatures. */
export interface Pending {
  role: PeoplesRole;
  version: number;
  metadata: Metadata<Root> | Metadata<Targets>;
  bytes: Buffer;
}

/**
 * What waits for signatures, root and targets first. Only the version that follows the newest signed one counts: others
 * were superseded.
 */
export async function readPending(repository: Repository): Promise<Pending[]> {
  const found: Pending[] = [];
  for (const { path, role, version } of await versionedNames(repository.storage, places.pending)) {
    const known = peoplesRoles.find(name => name === role);
    if (!known || version !== nextVersion(repository.state, known, newestVersion(repository, known)))
      continue;
    const bytes = await readMetadata(repository.storage, path);
    const where = repository.storage.where(path);
    const metadata = parseMetadata(typeOf(known) as 'root' | 'targets', bytes, where) as Pending['metadata'];
    found.push({ role: known, version, metadata, bytes });
  }
  return found.sort((a, b) => peoplesRoles.indexOf(a.role) - peoplesRoles.indexOf(b.role));
}

/** Newest version of a role that is signed by enough keys, published or staged. */
export const newestVersion = (repository: Repository, role: PeoplesRole): number =>
  newestFile(repository, role).metadata.signed.version;

/** Newest file of a role that is signed by enough keys, published or staged. */
export const newestFile = (repository: Repository, role: PeoplesRole) =>
  role === 'root' || role === 'targets' ? repository[role] : repository.roles[role];

/** Puts what still lacks signatures aside, in place of what was there of the role. */
export async function writePending(
  storage: Storage,
  role: PeoplesRole,
  version: number,
  bytes: Buffer,
): Promise<void> {
  await storage.replace(`${places.pending}/${metadataName(role, version)}`, bytes);
  await removePending(storage, [role], version);
}

/** A metadata file of a signed part and its signatures, in the one form of {@link stableJson}. */
export const joinSignatures = (signed: object, signatures: Readonly<Record<string, string>>): Buffer =>
  stableJson({
    signatures: Object.entries(signatures)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([keyid, sig]) => ({ keyid, sig })),
    signed,
  });
