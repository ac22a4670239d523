import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { extract } from 'tar';
import { inspectTarball, type TarballLimits } from '../release/builds/inspect-tarball.ts';
import { hashFile } from '../release/repository/target-files.ts';
import { installAnchors, type InstalledAnchors } from './install-anchors.ts';

export const bundleLimits: TarballLimits = {
  maxBytes: 64 * 2 ** 20,
  maxUnpackedBytes: 160 * 2 ** 20,
  maxFiles: 10_001,
};

/**
 * Installs a bundle from its file, as it is: for who has it from a trusted hand. Nodes take it from the code store, verified.
 *
 * @throws E_TARBALL_INVALID, E_FILE_MISSING, and what {@link installAnchors} throws.
 */
export async function installBundle(
  bundle: string,
  to: string,
): Promise<InstalledAnchors & { sha256: string }> {
  const { sha256 } = await hashFile(bundle);
  await inspectTarball({ file: bundle, source: bundle, limits: bundleLimits });
  const work = await mkdtemp(join(tmpdir(), 'pilotage-trust-'));
  try {
    await extract({ file: bundle, cwd: work, strict: true, preserveOwner: false, noMtime: true });
    return { ...(await installAnchors({ from: work, to, id: sha256 })), sha256 };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
