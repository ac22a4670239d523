import type { TargetFile } from '@tufjs/models';
import { PilotageError } from '../../../lib/errors.ts';
import { signingError } from '../../../signing/errors.ts';
import type { Delegation } from '../../../signing/release/metadata/search-delegations.ts';
import { TrustedMetadata } from '../../../signing/release/metadata/trusted-metadata.ts';
import { isTooLong, statusOf } from '../download.ts';
import type { MetadataStore } from './metadata-directory.ts';

export interface UpdaterOptions {
  /** What earlier updates verified; whatever is verified now is put there at once. */
  store: MetadataStore;
  /** Where to start when the store has no root that holds: the pinned one. */
  trustedRoot?: Uint8Array | undefined;
  /**
   * Fetches a file of the repository's metadata directory, at most `maxBytes`.
   *
   * @throws E_CACHE_UNREACHABLE with the status in `found`, and what `isTooLong` tells of a longer file.
   */
  get(file: string, maxBytes: number): Promise<Uint8Array>;
  /** What errors say of a path below the repository's base, `metadata/timestamp.json`: its URL. */
  at(path: string): string;
  /** Epoch milliseconds, against which all of this update is judged. */
  nowMs: number;
}

/** Roots that one update follows, at most; the next update goes on from there (section 5.3.2). */
const MAX_ROOTS = 256;
/** Greatest lengths, bytes, of what nothing signed names a length for; the wrapper allows the same for the first two. */
const maxBytes = { root: 1 << 20, timestamp: 1 << 16, snapshot: 2_000_000, targets: 5_000_000 } as const;

/**
 * One update of a repository's metadata through one cache (TUF 1.0.31 section 5). Keeps only verified bytes, each as soon
 * as it is verified, so that what is trusted only ever grows; and fetches nothing that it has.
 */
export class Updater {
  readonly trusted: TrustedMetadata;
  readonly #options: UpdaterOptions;

  /** @throws E_TUF_FORMAT, E_TUF_SIGNATURE when there is no root that holds. */
  static async open(options: UpdaterOptions): Promise<Updater> {
    const kept = await options.store.read('root');
    return new Updater(options, kept);
  }

  private constructor(options: UpdaterOptions, kept: Uint8Array | undefined) {
    this.#options = options;
    this.trusted = loadRoot(options, kept);
  }

  /**
   * Brings root, timestamp, snapshot and targets up to date.
   *
   * @param options.checkedJustNow somebody on this node has asked for root and timestamp so shortly ago that what is kept
   *   will do, as long as it holds. @returns false when so nothing was asked for.
   * @throws E_TUF_FORMAT, E_TUF_SIGNATURE, E_TUF_EXPIRED, E_TUF_STALE, E_TUF_ROLLBACK, E_TUF_HASH, E_TARGET_UNKNOWN,
   *   E_CACHE_UNREACHABLE; of the file system as `store` says.
   */
  async refresh(options: { checkedJustNow?: boolean } = {}): Promise<boolean> {
    const asks =
      options.checkedJustNow !== true ||
      !(await this.#recall('timestamp', kept => this.trusted.updateTimestamp(kept)));
    if (asks) {
      await this.#updateRoot();
      await this.#updateTimestamp();
    }
    await this.#updateSnapshot();
    await this.#load({ role: 'targets', delegator: 'root' });
    return asks;
  }

  /**
   * What the repository signed of a target; undefined when no role that may sign it does. After {@link refresh}.
   *
   * Errors as there.
   */
  async find(path: string): Promise<TargetFile | undefined> {
    const search = this.trusted.search(path);
    let step = search.next();
    while (step.done !== true) {
      await this.#load(step.value);
      step = search.next();
    }
    return step.value;
  }

  /** Section 5.3. Only 404 and 403 say that there is no newer root; a cache that fails otherwise may hide one. */
  async #updateRoot(): Promise<void> {
    const { store } = this.#options;
    for (let followed = 0; followed < MAX_ROOTS; followed += 1) {
      const file = this.trusted.fileOf('root', this.trusted.root.signed.version + 1);
      const fetched = this.#options.get(file, maxBytes.root).catch(noneThere);
      const bytes = await this.#bounded('root', file, fetched);
      if (bytes === undefined) return;
      const replaced = this.trusted.updateRoot(bytes);
      // Before the root that says so is kept: a crash in between must not leave what the old keys signed.
      if (replaced) for (const role of ['timestamp', 'snapshot']) await store.remove(role);
      await store.write('root', bytes);
    }
  }

  /** Section 5.4. */
  async #updateTimestamp(): Promise<void> {
    await this.#recall('timestamp', kept => this.trusted.recallTimestamp(kept));
    const file = this.trusted.fileOf('timestamp', 0);
    const bytes = await this.#bounded('timestamp', file, this.#options.get(file, maxBytes.timestamp));
    if (this.trusted.updateTimestamp(bytes)) await this.#options.store.write('timestamp', bytes);
  }

  /** Section 5.5. */
  async #updateSnapshot(): Promise<void> {
    const meta = this.trusted.timestamp.signed.snapshotMeta;
    const current = await this.#recall('snapshot', kept => {
      this.trusted.recallSnapshot(kept);
      this.trusted.updateSnapshot(kept);
    });
    if (current) return;
    const file = this.trusted.fileOf('snapshot', meta.version);
    const bytes = await this.#bounded(
      'snapshot',
      file,
      this.#options.get(file, meta.length ?? maxBytes.snapshot),
    );
    this.trusted.updateSnapshot(bytes);
    await this.#options.store.write('snapshot', bytes);
  }

  /** Section 5.6: a role of targets, as kept where that is what the snapshot names, else fetched. */
  async #load(delegation: Delegation): Promise<void> {
    if (this.trusted.holds(delegation)) return;
    const { role } = delegation;
    const meta = this.trusted.metaOf(role);
    if (await this.#recall(role, kept => this.trusted.updateTargets(delegation, kept))) return;
    const file = this.trusted.fileOf(role, meta.version);
    const bytes = await this.#bounded(role, file, this.#options.get(file, meta.length ?? maxBytes.targets));
    this.trusted.updateTargets(delegation, bytes);
    await this.#options.store.write(role, bytes);
  }

  /** Tries what is kept of a role; false where there is none, or it does not hold (any more): then it is fetched. */
  async #recall(role: string, take: (kept: Uint8Array) => unknown): Promise<boolean> {
    const kept = await this.#options.store.read(role);
    if (kept === undefined) return false;
    try {
      take(kept);
      return true;
    } catch (error) {
      if (error instanceof PilotageError) return false;
      throw error;
    }
  }

  /** A file longer than it may be is not the one that is named above it, or no metadata at all. */
  async #bounded<T>(role: string, file: string, fetched: Promise<T>): Promise<T> {
    try {
      return await fetched;
    } catch (error) {
      if (!isTooLong(error)) throw error;
      const named = role !== 'root' && role !== 'timestamp';
      throw signingError({
        code: named ? 'E_TUF_HASH' : 'E_TUF_FORMAT',
        message: named
          ? 'The file is longer than the one that the metadata above it names.'
          : `The file is longer than any ${role} may be.`,
        where: this.#options.at(`metadata/${file}`),
        ...((error as PilotageError).expected !== undefined && {
          expected: (error as PilotageError).expected!,
        }),
        found: 'more',
        fix: 'Use another cache; if all caches give this, tell the release managers.',
        cause: error,
      });
    }
  }
}

/** A kept root that was damaged is not trusted: the chain is followed again from the pinned one. */
function loadRoot(options: UpdaterOptions, kept: Uint8Array | undefined): TrustedMetadata {
  const { trustedRoot } = options;
  if (kept !== undefined) {
    try {
      return new TrustedMetadata(kept, options);
    } catch (error) {
      if (trustedRoot === undefined || !(error instanceof PilotageError)) throw error;
    }
  }
  return new TrustedMetadata(trustedRoot ?? new Uint8Array(), options);
}

function noneThere(error: unknown): undefined {
  const status = statusOf(error);
  if (status !== 404 && status !== 403) throw error;
}
