import type { Refusal } from '../../lib/errors.ts';
import { hashedTargetPath } from '../../signing/release/layout.ts';
import { withClient } from './client.ts';
import type { FetchOptions } from './fetch-release.ts';
import { install } from './install.ts';
import { viewOfNode } from './node-view.ts';
import { DEFAULT_STORE_BYTES } from './prune-store.ts';
import type { View } from './refresh.ts';

export interface FetchedTarget {
  /** Of the archive. */
  sha256: string;
  /** Holds the files that were signed, each checked just now; others use it too, and it may go when room is made. */
  directory: string;
  /** Version of every signed role in force. */
  metadata: Record<string, number>;
  cache: string;
  /** Every cache that gave other bytes than were signed. */
  refusals: readonly Refusal[];
}

/**
 * Brings an archive that any role signs, with the list of its files, onto this node: verified, downloaded once per node,
 * unpacked. For targets beside the release, such as the trust anchors.
 *
 * @param options.path for example `trust/bundle.tar.gz`.
 * @returns null where no role signs it. @throws as `fetchRelease`; nothing is unpacked then.
 */
export async function fetchTarget(
  options: Omit<FetchOptions, 'offlineGraceSeconds'> & { path: string },
): Promise<FetchedTarget | null> {
  const { path, maxStoreBytes = DEFAULT_STORE_BYTES } = options;
  return withClient(options, async client => {
    const found = async (view: View) => ({ view, target: await view.find(path) });
    const { value, refusals } = await client.through(async source => {
      const { view, target } = await viewOfNode(client.refresh, source, found);
      if (target === undefined) return null;
      const sha256 = target.hashes.sha256 ?? '';
      const artefact = { path, sha256, version: hashedTargetPath(path, sha256) };
      const { directories, fetched } = await install({ ...client, source, maxStoreBytes }, [
        { artefact, target },
      ]);
      const cache = fetched ? source.cache : view.source.cache;
      return { sha256, directory: directories[0]!, metadata: view.versions, cache };
    });
    return value === null ? null : { ...value, refusals };
  });
}
