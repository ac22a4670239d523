import { amendRole, watchProposals } from '../release/repository/amend-role.ts';
import { withIncoming } from '../release/builds/incoming-file.ts';
import { inspectTarball, invalidTarball } from '../release/builds/inspect-tarball.ts';
import { targetPlace, TRUST_TARGET } from '../release/layout.ts';
import { withRepository, type ReleaseContext } from '../release/repository/repository.ts';
import { targetFile } from '../release/metadata/role-metadata.ts';
import type { Issue } from './check-file.ts';
import type { TrustManifest } from './build-bundle.ts';
import { bundleLimits } from './unpack-bundle.ts';

export interface StagedBundle {
  path: string;
  sha256: string;
  bytes: number;
  manifest: TrustManifest;
  /** False: this very bundle was signed already, or waits for more signatures. */
  staged: boolean;
  /** Version of the `trust` role that names it. */
  trust: number;
  /** True: that version waits for more signatures. */
  proposed: boolean;
  warnings: Issue[];
}

/**
 * Signs a bundle into the role `trust`, in place of the one before; takes effect with the next publish.
 *
 * @throws E_TARBALL_INVALID, E_FILE_MISSING, E_THRESHOLD_NOT_MET and what unlocking keys throws.
 */
export const stageBundle = (
  context: ReleaseContext & { bundle: string; keyNames?: readonly string[] },
): Promise<StagedBundle> =>
  withRepository(context, repository =>
    withIncoming(repository.storage, context.bundle, bundleLimits, async incoming => {
      const { sha256, bytes } = incoming;
      const contents = await inspectTarball({
        file: incoming.file,
        source: context.bundle,
        limits: bundleLimits,
        keep: ['manifest.json'],
      });
      const manifest = manifestOf(contents.kept.get('manifest.json'), context.bundle);
      const { signed } = repository.roles.trust.metadata;
      const before = signed.targets[TRUST_TARGET]?.custom.builtAt;
      const warnings = warningsOf(manifest, { file: context.bundle, before, nowMs: context.clock.now() });
      const result = { path: TRUST_TARGET, sha256, bytes, manifest, warnings };
      if (signed.targets[TRUST_TARGET]?.hashes.sha256 === sha256) {
        return { ...result, staged: false, trust: signed.version, proposed: false };
      }
      const { builtAt, nextUpdate } = manifest;
      const custom = { builtAt, nextUpdate, files: contents.files, unpackedSize: contents.unpackedBytes };
      const target = targetFile({ path: TRUST_TARGET, length: bytes, sha256, custom });
      await repository.storage.createFrom(targetPlace(target), incoming.file);
      const details = { target: TRUST_TARGET, targetSha256: sha256, authorities: manifest.authorities };
      const event = { action: 'trust', details };
      const watched = watchProposals(repository);
      const trust = await amendRole(watched.repository, 'trust', [target], event, context.keyNames);
      const proposed = watched.isProposed();
      return { ...result, staged: !proposed, trust, proposed };
    }),
  );

/** It is published all the same: nodes with an old bundle are better off than nodes with none. */
function warningsOf(
  { builtAt, nextUpdate }: TrustManifest,
  { file, before, nowMs }: { file: string; before: unknown; nowMs: number },
): Issue[] {
  const fix = 'Fetch the lists (fetch-crl), then bundle and publish again.';
  const issues: Issue[] = [];
  const warn = (problem: string) => issues.push({ severity: 'warning', file, problem, fix });
  if (nextUpdate !== null && Date.parse(nextUpdate) <= nowMs)
    warn(`a revocation list in it ran out at ${nextUpdate}: certificates of its authority are refused`);
  if (typeof before === 'string' && Date.parse(builtAt) < Date.parse(before))
    warn(`it was built at ${builtAt}, before the one in force (${before}): nodes forget newer revocations`);
  return issues;
}

function manifestOf(bytes: Buffer | undefined, bundle: string): TrustManifest {
  try {
    const manifest = JSON.parse(String(bytes)) as TrustManifest;
    if (manifest.schema === 1 && manifest.authorities > 0 && !Number.isNaN(Date.parse(manifest.builtAt))) {
      return manifest;
    }
  } catch {
    // Told below.
  }
  throw invalidTarball(bundle, 'It is not a bundle of trust anchors.', {
    expected: 'manifest.json as "pilotage trust bundle" writes it',
  });
}
