import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fetchRelease } from '../../codecache/client/fetch-release.ts';

/**
 * A worker node that keeps its store from one pilot to the next and asks its cache each time: says what version it would
 * start, or the code of the refusal.
 */
export function keptNode(options: { storeDirectory: string; rootJson: Buffer; arch: string }) {
  return async (cache: string): Promise<string> => {
    const { storeDirectory, rootJson, arch } = options;
    const metadata = join(storeDirectory, 'metadata');
    for (const pin of await readdir(metadata).catch(() => [])) {
      await rm(join(metadata, pin, 'checked'), { force: true });
    }
    try {
      const { release } = await fetchRelease({
        trustedRoot: rootJson,
        storeDirectory,
        caches: [cache],
        queue: 'Q1',
        arch,
        patienceSeconds: 0,
      });
      return release.version;
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  };
}
