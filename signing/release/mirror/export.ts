import { libError } from '../../../lib/errors.ts';
import { places } from '../layout.ts';
import {
  MAX_STATE_BYTES,
  metadataPlace,
  readMetadata,
  readState,
  type ReleaseContext,
} from '../repository/repository.ts';
import { withRepositoryLock } from '../repository/repository-lock.ts';
import { fileStorage } from '../storage/file-storage.ts';
import { copyPublic, type CopyResult } from './copy-public.ts';
import { isNeeded } from './may-expire.ts';
import { storageSource } from './public-source.ts';

/**
 * Writes what is public as static files that any web server can serve: `metadata/`, `targets/`, `log.jsonl`. Everything is
 * verified before it is copied; run again it brings only what is new, and never leaves clients without a whole tree.
 *
 * @param context.directory of the web server; made when missing.
 * @throws as {@link copyPublic}; E_REPOSITORY_MISSING, E_REPOSITORY_LOCKED, E_USAGE for the directory of a repository.
 */
export async function exportTree(context: ReleaseContext & { directory: string }): Promise<CopyResult> {
  const { storage, clock, lockWaitSeconds, directory } = context;
  await readState(storage);
  if (await fileStorage(directory).read(places.state, MAX_STATE_BYTES)) throw intoRepository(directory);
  return withRepositoryLock({ storage, clock, waitSeconds: lockWaitSeconds }, async () =>
    copyPublic({
      from: storageSource(storage),
      // Half-written files are kept out of what the web server serves.
      to: { ...fileStorage(directory), workDirectory: () => storage.workDirectory() },
      folder: '',
      trustedRoot: await readMetadata(storage, metadataPlace('root', 1)),
      clock,
      mayExpire: role => !isNeeded(role),
      onStep: context.onStep,
    }),
  );
}

const intoRepository = (where: string) =>
  libError({
    code: 'E_USAGE',
    message: 'This directory is a release repository.',
    where,
    expected: 'a directory for a web server',
    fix: 'Name another directory; what is in "public" of a repository can be served as it is.',
  });
