import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { BaseFetcher, Updater } from 'tuf-js';
import { DownloadHTTPError } from 'tuf-js/dist/error.js';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { ChannelPointer, type Floors } from '../../../lib/protocol/release.ts';
import { describeRelease } from '../../../signing/release/history/describe-release.ts';
import { serveTree, sha256Of, type Tree } from '../codecache/forgery.ts';
import { runWrapper } from '../codecache/wrapper-box.ts';

/** A pilot that says which one it is. */
export const speakingPilot = (version: string): Record<string, string> => ({
  'pilot.mjs': `process.stdout.write('I am ${version}\\n');\n`,
});

/** Version that a reader got, every byte of it checked, or the code it refused with. */
export type Seen = string;

export interface Readers {
  /** Stock tuf-js. A release that is withdrawn is none of its business: it says where the pointer leads. */
  tufJs(): Promise<Seen>;
  /** Our TypeScript client, and the sh bootstrap, which starts the pilot, and the pilot says its version. They must agree. */
  nodes(floors?: Floors): Promise<Seen>;
}

/**
 * Nodes of the queue Q1 that keep what they trust from one use to the next; `current()` is what the store serves.
 */
export async function makeReaders(
  t: TestContext,
  options: { directory: string; rootJson: Buffer; current: () => Tree; channel?: string },
): Promise<Readers> {
  const { directory, rootJson, current, channel = 'stable' } = options;
  const { url } = await serveTree(t, current);
  const tufDirectory = join(directory, 'tuf-js');
  await mkdir(tufDirectory, { recursive: true });
  await writeFile(join(tufDirectory, 'root.json'), rootJson);
  let runs = 0;

  const tufJs = async () => {
    const updater = new Updater({
      metadataDir: tufDirectory,
      targetDir: tufDirectory,
      metadataBaseUrl: 'http://store.invalid/metadata',
      targetBaseUrl: 'http://store.invalid/targets',
      fetcher: new TreeFetcher(current),
    });
    const download = async (path: string) => {
      const info = await updater.getTargetInfo(path);
      return info && { info, bytes: await readFile(await updater.downloadTarget(info)) };
    };
    try {
      await updater.refresh();
      const pointerFile = await download(`channels/${channel}.json`);
      if (!pointerFile) return 'E_TARGET_UNKNOWN';
      const { current: build } = ChannelPointer.parse(JSON.parse(pointerFile.bytes.toString('utf8')));
      const pilot = await download(build.pilot.path);
      if (!pilot) return 'E_TARGET_UNKNOWN';
      assert.equal(sha256Of(pilot.bytes), build.pilot.sha256);
      const described = describeRelease(new Map([[build.pilot.path, pilot.info]]), build.version)!;
      assert.equal(described.files['pilot.mjs'], speakingHash(build.version));
      return build.version;
    } catch (error) {
      if (error instanceof assert.AssertionError) throw error;
      return (error as Error).constructor.name;
    }
  };
  const client = async (floors: Floors | null) => {
    const storeDirectory = join(directory, 'client');
    await forgetChecks(storeDirectory);
    const asked = {
      trustedRoot: rootJson,
      storeDirectory,
      caches: [url],
      queue: 'Q1',
      patienceSeconds: 0,
      floors,
    };
    try {
      const { release, pilotDirectory } = await fetchRelease(asked);
      const text = await readFile(join(pilotDirectory, 'pilot.mjs'), 'utf8');
      assert.equal(text, speakingPilot(release.version)['pilot.mjs']);
      return release.version;
    } catch (error) {
      if (error instanceof PilotageError) return error.code;
      throw error;
    }
  };
  const wrapper = async (floors: Floors | null) => {
    const store = join(directory, 'wrapper');
    const box = join(directory, `box-${(runs += 1)}`);
    const run = await runWrapper({ directory: box, store, rootJson, caches: [url], floors });
    if (run.exit !== 0) return run.result.code;
    return /^I am (\S+)$/m.exec(run.stdout)?.[1] ?? run.stdout;
  };
  const nodes = async (floors: Floors | null = null) => {
    const [a, b] = await Promise.all([client(floors), wrapper(floors)]);
    assert.equal(a, b, 'client and wrapper agree');
    return a;
  };
  return { tufJs, nodes };
}

const speakingHash = (version: string) => sha256Of(Buffer.from(speakingPilot(version)['pilot.mjs']!));

/** As if the node had asked its caches long ago. */
async function forgetChecks(storeDirectory: string): Promise<void> {
  const metadata = join(storeDirectory, 'metadata');
  for (const pin of await readdir(metadata).catch(() => [])) {
    await rm(join(metadata, pin, 'checked'), { force: true });
  }
}

/** Reads a tree as tuf-js would read it over HTTP. */
class TreeFetcher extends BaseFetcher {
  readonly #current: () => Tree;
  constructor(current: () => Tree) {
    super();
    this.#current = current;
  }
  override async fetch(url: string) {
    const bytes = this.#current().get(new URL(url).pathname.slice(1));
    if (!bytes) throw new DownloadHTTPError('not found', 404);
    return new Blob([new Uint8Array(bytes)]).stream() as never;
  }
}
