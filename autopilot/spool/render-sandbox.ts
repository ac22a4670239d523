import { join } from 'node:path';
import canonicalize from 'canonicalize';
import { chmod } from 'node:fs/promises';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import { Bootstrap } from '../../lib/protocol/release.ts';
import type { PilotRef } from '../engines/engine.ts';

/** What all pilots of this autopilot are given alike. */
export type BootstrapBase = Pick<Bootstrap, 'queue' | 'servers' | 'serverCa' | 'caches' | 'site' | 'agent'>;

export const sandboxPath = (spool: string, pilot: PilotRef): string =>
  join(spool, pilot.batchId, pilot.submissionId);

/**
 * Writes the two files of a sandbox, `<spool>/<batch>/<submission>/` mode 0700: `wrapper.sh` and `bootstrap.json` (0600;
 * it holds the one-time secret). Minified with sorted keys, so that a POSIX shell can read it.
 */
export async function renderSandbox(
  spool: string,
  pilot: PilotRef,
  files: { wrapper: string; bootstrap: Bootstrap },
): Promise<void> {
  const directory = sandboxPath(spool, pilot);
  await ensureDirectory(join(spool, pilot.batchId), 0o700);
  await ensureDirectory(directory, 0o700);
  await chmod(directory, 0o700);
  await writeFileAtomic(join(directory, 'wrapper.sh'), files.wrapper, { mode: 0o600 });
  await writeFileAtomic(
    join(directory, 'bootstrap.json'),
    canonicalize(Bootstrap.parse(files.bootstrap)) as string,
    { mode: 0o600 },
  );
}
