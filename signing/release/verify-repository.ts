import type { Floors } from '../../lib/protocol/release.ts';
import { signingError } from '../errors.ts';
import { readEventLog, type LogEntry } from './event-log.ts';
import { places } from './layout.ts';
import { readReleaseMetadata, storageReader } from './read-public.ts';
import { readMetadata, withRepository, type ReleaseContext, type Repository } from './repository.ts';
import { versionedNames } from './versioned-names.ts';
import { sha256Of } from './role-metadata.ts';
import { verifyTarget } from './target-files.ts';
import { verifyMetadata } from './verify-metadata.ts';

export interface RoleStatus {
  version: number;
  expires: string;
  secondsLeft: number;
  /** True with less time left than the configuration wants: someone has to sign. */
  due: boolean;
}

export interface RepositoryStatus {
  floors: Floors;
  roles: Record<string, RoleStatus>;
  channels: Record<string, { version: string; serial: number }>;
  /** Roles that are signed but not yet published. */
  staged: string[];
  targets: number;
  logEntries: number;
}

/**
 * Verifies a whole repository: what clients see, every target's bytes, and that the log tells of every signature.
 *
 * @throws what {@link verifyMetadata} throws, E_TARGET_HASH, E_TARGET_LENGTH, E_LOG_TAMPERED, E_REPOSITORY_UNPUBLISHED.
 */
export const verifyRepository = (context: ReleaseContext): Promise<RepositoryStatus> =>
  withRepository(context, async repository => {
    const { storage, context: used, state } = repository;
    if (!repository.published) {
      throw signingError({
        code: 'E_REPOSITORY_UNPUBLISHED',
        message: 'Nothing was ever published from this repository.',
        where: storage.name,
        fix: 'Run "pilotage release publish".',
      });
    }
    const log = await readEventLog(storage, repository.anchor);
    await checkLogged(repository, log.entries);
    const nowMs = used.clock.now();
    const where = storage.where(places.public);
    const bytes = await readReleaseMetadata(storageReader(storage), { where });
    const verified = verifyMetadata(bytes, { nowMs, where });
    for (const target of verified.targets.values()) {
      used.onStep?.(`verify ${target.path}`);
      await verifyTarget(storage, target);
    }
    const roles = Object.entries(verified.versions).map(([role, version]): [string, RoleStatus] => {
      const secondsLeft = Math.floor((verified.expiresMs[role]! - nowMs) / 1000);
      const { resignSeconds } = state.config[role as keyof typeof state.config & 'root'];
      const expires = new Date(verified.expiresMs[role]!).toISOString();
      return [role, { version, expires, secondsLeft, due: secondsLeft < resignSeconds }];
    });
    return {
      floors: verified.floors,
      roles: Object.fromEntries(roles),
      channels: Object.fromEntries(
        Object.entries(verified.channels).map(([name, { current, serial }]) => [
          name,
          { version: current.version, serial },
        ]),
      ),
      staged: (await versionedNames(storage, places.staged)).map(entry => entry.name),
      targets: verified.targets.size,
      logEntries: log.entries.length,
    };
  });

/** The verified log of a repository, oldest first. @throws E_LOG_TAMPERED. */
export const releaseLog = (context: ReleaseContext): Promise<LogEntry[]> =>
  withRepository(context, async repository => {
    const { entries } = await readEventLog(repository.storage, repository.anchor);
    await checkLogged(repository, entries);
    return entries;
  });

/** Every signed file that is here was logged when it was signed: entries after the anchor cannot vanish either. */
async function checkLogged(repository: Repository, entries: readonly LogEntry[]): Promise<void> {
  const logged = new Set(entries.map(entry => `${entry.role} ${entry.version} ${entry.sha256}`));
  const { storage } = repository;
  for (const directory of [places.metadata, places.staged]) {
    for (const { path, role, version } of await versionedNames(storage, directory)) {
      if (logged.has(`${role} ${version} ${sha256Of(await readMetadata(storage, path))}`)) continue;
      throw signingError({
        code: 'E_LOG_TAMPERED',
        message: 'The release log does not tell of this signed file.',
        where: storage.where(path),
        rule: 'every signature is logged before it leaves',
        fix: 'Find out who signed it, or who took entries out of the log.',
      });
    }
  }
}
