import { BaseFetcher } from 'tuf-js';
import { DownloadHTTPError, DownloadLengthMismatchError } from 'tuf-js/dist/error.js';
import { isTooLong, statusOf } from './download.ts';
import type { Downloads, Source } from './download.ts';

const MAX_METADATA_BYTES = 5_000_000;

/**
 * What tuf-js fetches metadata with: undici, one cache, bounded in bytes and time, and it remembers the file under way
 * so that an error can name it. tuf-js's own fetcher uses the built-in fetch, which can end the process
 * (nodejs/undici#5360).
 */
export class CacheFetcher extends BaseFetcher {
  readonly #downloads: Downloads;
  readonly #source: Source;
  readonly #onLastRoot: () => Promise<void>;
  /** Path of the last file asked for, below the cache's base URL. */
  lastPath = 'metadata';
  /** Why the last fetch failed; tuf-js keeps only its text. */
  lastFailure: unknown;

  /** @param onLastRoot runs when the newest root is known, before anything that it signs is loaded. */
  constructor(downloads: Downloads, source: Source, onLastRoot: () => Promise<void>) {
    super();
    this.#downloads = downloads;
    this.#source = source;
    this.#onLastRoot = onLastRoot;
  }

  override async downloadBytes(url: string, maxLength: number): Promise<Buffer> {
    this.lastPath = url.slice(`${this.#source.cache.replace(/\/+$/, '')}/`.length);
    this.lastFailure = undefined;
    try {
      return await this.#downloads.bytes(
        this.#source,
        this.lastPath,
        Math.min(maxLength, MAX_METADATA_BYTES),
      );
    } catch (error) {
      this.lastFailure = error;
      if (isTooLong(error)) throw new DownloadLengthMismatchError('Max length reached');
      const status = statusOf(error);
      if ((status === 404 || status === 403) && this.lastPath.endsWith('.root.json'))
        await this.#onLastRoot();
      if (status !== undefined && status > 0) throw new DownloadHTTPError('Failed to download', status);
      throw error;
    }
  }

  /** Part of the base class; the updater asks for whole files only. */
  override fetch = async (url: string): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> =>
    new Blob([new Uint8Array(await this.downloadBytes(url, MAX_METADATA_BYTES))]).stream();
}
