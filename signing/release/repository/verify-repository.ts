import { readEventLog, type LogEntry } from './event-log.ts';
import { inspectRepository, type RepositoryStatus } from './inspect-repository.ts';
import { withRepository, type ReleaseContext } from './repository.ts';
import { unloggedFiles } from './unlogged-files.ts';

/**
 * Verifies a whole repository: what clients see, every target's bytes, and that the log tells of every signature.
 *
 * @throws the first error that {@link inspectRepository} finds: E_TUF_…, E_TARGET_HASH, E_TARGET_LENGTH, E_LOG_TAMPERED,
 * E_FILE_MISSING, E_REPOSITORY_UNPUBLISHED.
 */
export async function verifyRepository(context: ReleaseContext): Promise<RepositoryStatus> {
  const { status, errors } = await inspectRepository(context);
  if (errors[0]) throw errors[0];
  return status;
}

/** The verified log of a repository, oldest first. @throws E_LOG_TAMPERED. */
export const releaseLog = (context: ReleaseContext): Promise<LogEntry[]> =>
  withRepository(context, async ({ storage, anchor }) => {
    const { entries } = await readEventLog(storage, anchor);
    const [first] = await unloggedFiles(storage, entries);
    if (first) throw first;
    return entries;
  });
