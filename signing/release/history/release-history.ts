import type { TargetFile } from '@tufjs/models';
import { historyOf, type ReleaseHistory } from './history.ts';
import { places } from '../layout.ts';
import {
  openRepository,
  readMetadata,
  type ReleaseContext,
  type Repository,
} from '../repository/repository.ts';
import { parseMetadata } from '../metadata/role-metadata.ts';
import { releaseLog } from '../repository/verify-repository.ts';
import { versionedNames } from '../repository/versioned-names.ts';

/** The revision history of a repository, from its verified log and its newest signed targets. @throws E_LOG_TAMPERED. */
export async function releaseHistory(context: ReleaseContext): Promise<ReleaseHistory> {
  const entries = await releaseLog(context);
  const { roles } = await openRepository(context);
  return historyOf(entries, new Map(Object.entries(roles.releases.metadata.signed.targets)));
}

/**
 * Every target that `releases` ever signed here, by path: what was withdrawn can still be looked at. Trusts files that
 * {@link releaseLog} has judged: each is in the verified log.
 */
export async function everReleased(repository: Repository): Promise<Map<string, TargetFile>> {
  const { storage } = repository;
  const found = new Map<string, TargetFile>();
  const files = (await versionedNames(storage, places.metadata)).filter(({ role }) => role === 'releases');
  for (const { path } of files.sort((a, b) => a.version - b.version)) {
    const { signed } = parseMetadata('targets', await readMetadata(storage, path), storage.where(path));
    for (const target of Object.values(signed.targets)) found.set(target.path, target);
  }
  for (const target of Object.values(repository.roles.releases.metadata.signed.targets)) {
    found.set(target.path, target);
  }
  return found;
}
