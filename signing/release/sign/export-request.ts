import type { Targets } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { peoplesRoles, places, type PeoplesRole } from '../layout.ts';
import { newestFile, readPending, type Pending } from './pending.ts';
import { readMetadata, type Repository } from '../repository/repository.ts';
import { readTarget } from '../repository/target-files.ts';
import { versionedNames } from '../repository/versioned-names.ts';
import { isSmallTarget, type Envelope, type SigningRequest } from './signing-request.ts';

/**
 * Puts everything that waits for signatures into one request.
 *
 * @param options.roles only these; without it all.
 * @throws E_PENDING_MISSING when nothing waits.
 */
export async function exportRequest(
  repository: Repository,
  options: { roles?: readonly string[] | undefined } = {},
): Promise<SigningRequest> {
  const { storage } = repository;
  const pending = (await readPending(repository)).filter(
    ({ role }) => !options.roles || options.roles.includes(role),
  );
  if (pending.length === 0) throw nothingPending(storage.name, options.roles);
  const roles = new Set<PeoplesRole>(['targets', 'releases', ...pending.map(({ role }) => role)]);
  roles.delete('root');
  const files: SigningRequest['files'] = {};
  for (const signed of pending.flatMap(item => [
    item.metadata.signed,
    newestFile(repository, item.role).metadata.signed,
  ])) {
    for (const target of Object.values((signed as Targets).targets ?? {})) {
      if (!isSmallTarget(target.path)) continue;
      files[target.hashes.sha256!] = JSON.parse(
        (await readTarget(storage, target)).toString('utf8'),
      ) as never;
    }
  }
  return {
    type: 'pilotage-signing-request',
    schema: 1,
    roots: await allRoots(repository),
    current: Object.fromEntries([...roles].map(role => [role, envelope(newestFile(repository, role).bytes)])),
    items: pending.map(({ role, bytes }) => ({ role, metadata: envelope(bytes) })),
    files,
    names: namesIn(repository, pending),
    ...(repository.state.past && { past: repository.state.past }),
  };
}

const envelope = (bytes: Buffer): Envelope => JSON.parse(bytes.toString('utf8')) as Envelope;

/** Every root from the first on, the staged ones included. */
async function allRoots({ storage }: Repository): Promise<Envelope[]> {
  const found = new Map<number, string>();
  for (const place of [places.metadata, places.staged]) {
    for (const { role, version, path } of await versionedNames(storage, place)) {
      if (role === 'root' && !found.has(version)) found.set(version, path);
    }
  }
  const ordered = [...found].sort(([a], [b]) => a - b);
  return Promise.all(ordered.map(async ([, path]) => envelope(await readMetadata(storage, path))));
}

/** Names of the keys that appear in what is to be signed, before or after. */
function namesIn(repository: Repository, pending: readonly Pending[]): Record<string, string> {
  const signed = [
    repository.root.metadata.signed,
    repository.targets.metadata.signed,
    ...pending.map(item => item.metadata.signed),
  ];
  const text = JSON.stringify(signed.map(part => part.toJSON()));
  return Object.fromEntries(
    Object.entries(repository.state.keyNames).filter(([id]) => text.includes(`"${id}"`)),
  );
}

export const nothingPending = (where: string, roles: readonly string[] | undefined) =>
  signingError({
    code: 'E_PENDING_MISSING',
    message: roles ? `Nothing of ${roles.join(', ')} waits for signatures.` : 'Nothing waits for signatures.',
    where,
    expected: `a proposal for one of ${peoplesRoles.join(', ')}`,
    fix: 'Propose something first: release promote, add, resign or rotate-key with --propose.',
  });
