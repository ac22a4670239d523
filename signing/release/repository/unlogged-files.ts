import type { PilotageError } from '../../../lib/errors.ts';
import { signingError } from '../../errors.ts';
import type { LogEntry } from './event-log.ts';
import { places } from '../layout.ts';
import { readMetadata } from './repository.ts';
import { sha256Of } from '../metadata/role-metadata.ts';
import type { Storage } from '../storage/storage.ts';
import { versionedNames } from './versioned-names.ts';

/** Every signed file that is here was logged when it was signed: entries after the anchor cannot vanish either. */
export async function unloggedFiles(
  storage: Storage,
  entries: readonly LogEntry[],
): Promise<PilotageError[]> {
  const logged = new Set(entries.map(entry => `${entry.role} ${entry.version} ${entry.sha256}`));
  const found: PilotageError[] = [];
  for (const directory of [places.metadata, places.staged]) {
    for (const { path, role, version } of await versionedNames(storage, directory)) {
      if (logged.has(`${role} ${version} ${sha256Of(await readMetadata(storage, path))}`)) continue;
      found.push(
        signingError({
          code: 'E_LOG_TAMPERED',
          message: 'The release log does not tell of this signed file.',
          where: storage.where(path),
          rule: 'every signature is logged before it leaves',
          fix: 'Find out who signed it, or who took entries out of the log.',
        }),
      );
    }
  }
  return found;
}
