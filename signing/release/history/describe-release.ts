import type { TargetFile } from '@tufjs/models';
import * as z from 'zod';
import { pilotTarget } from '../layout.ts';

/** What `releases` signs of a pilot besides its bytes: the `custom` of its target. */
const Custom = z.object({
  commit: z.string().default('unknown'),
  tag: z.string().nullable().default(null),
  builder: z.string().nullable().default(null),
  builtAt: z.union([z.string(), z.number()]).default('unknown'),
  requires: z.record(z.string(), z.string()).default({}),
  unpackedSize: z.int().default(0),
  files: z.record(z.string(), z.string()).default({}),
});

/** A release as the role `releases` signs it. */
export interface ReleaseDescription {
  version: string;
  /** Target path of the tarball. */
  path: string;
  sha256: string;
  bytes: number;
  unpackedBytes: number;
  /** Git commit, or `unknown`. */
  commit: string;
  /** Git tag it was built from. */
  tag: string | null;
  /** `user@host` of whoever built it here. */
  builder: string | null;
  builtAt: string;
  /** What a node must have: `node`, `glibc`, `arch`. */
  requires: Record<string, string>;
  /** Path in the tarball -> sha256. */
  files: Record<string, string>;
  /** Target paths of what is signed beside it: SBOM, provenance. */
  attachments: string[];
}

/**
 * Gives a release from verified targets; null when `releases` does not sign it (any more).
 *
 * @param targets by path, as {@link VerifiedMetadata} has them.
 */
export function describeRelease(
  targets: ReadonlyMap<string, TargetFile>,
  version: string,
): ReleaseDescription | null {
  const path = pilotTarget(version);
  const target = targets.get(path);
  if (!target) return null;
  const custom = Custom.safeParse(target.custom);
  const { unpackedSize, builtAt, ...known } = custom.success ? custom.data : Custom.parse({});
  return {
    version,
    path,
    sha256: target.hashes.sha256 ?? '',
    bytes: target.length,
    unpackedBytes: unpackedSize,
    ...known,
    builtAt: String(builtAt),
    attachments: [...targets.keys()]
      .filter(other => other.startsWith(`pilot/${version}/`) && other !== path)
      .sort(),
  };
}
