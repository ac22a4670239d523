import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { BaseFetcher, Updater } from 'tuf-js';
import { DownloadHTTPError } from 'tuf-js/dist/error.js';
import { ChannelPointer } from '../../lib/protocol/release.ts';

/** Reads a public directory as tuf-js would read it over HTTP. */
class DirectoryFetcher extends BaseFetcher {
  readonly #directory: string;

  constructor(directory: string) {
    super();
    this.#directory = directory;
  }

  override async fetch(url: string) {
    const bytes = await readFile(join(this.#directory, new URL(url).pathname)).catch(() => {
      throw new DownloadHTTPError('not found', 404);
    });
    return new Blob([new Uint8Array(bytes)]).stream() as never;
  }
}

/**
 * Stock tuf-js as a node's client: gives the version that a channel starts, after it downloaded and verified pilot and
 * runtime.
 *
 * @param options.state directory with its trusted metadata, kept from call to call; made with `rootJson` when new.
 */
export async function readWithTufJs(options: {
  publicDirectory: string;
  state: string;
  rootJson: Uint8Array;
  channel: string;
}): Promise<string> {
  const { state } = options;
  await mkdir(state, { recursive: true });
  if (!existsSync(join(state, 'root.json'))) await writeFile(join(state, 'root.json'), options.rootJson);
  const updater = new Updater({
    metadataDir: state,
    targetDir: state,
    metadataBaseUrl: 'http://repository.invalid/metadata',
    targetBaseUrl: 'http://repository.invalid/targets',
    fetcher: new DirectoryFetcher(options.publicDirectory),
  });
  await updater.refresh();
  const download = async (path: string, sha256?: string) => {
    const info = await updater.getTargetInfo(path);
    if (!info || (sha256 !== undefined && info.hashes.sha256 !== sha256))
      throw new Error(`${path} is not signed`);
    return readFile(await updater.downloadTarget(info));
  };
  const pointer = ChannelPointer.parse(
    JSON.parse((await download(`channels/${options.channel}.json`)).toString()),
  );
  await download('queues/channels.json');
  const { current } = pointer;
  for (const { path, sha256 } of [current.pilot, ...Object.values(current.runtimes)])
    await download(path, sha256);
  return current.version;
}
