import type { Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp } from '@tufjs/models';
import { signingError } from '../../errors.ts';
import { checkMeta, checkVersion, delegate, older, onlineKeys } from './metadata-rules.ts';
import { parseMetadata } from './role-metadata.ts';
import { searchDelegations, type Delegation } from './search-delegations.ts';
import type { AnyMetadata, Delegator } from './verify-delegate.ts';

/**
 * What is trusted of one repository, and the only way in: bytes are verified against what is trusted already, or refused
 * (TUF 1.0.31 section 5). Pure: bytes and time in, verified values or errors out. Whoever fetches and keeps files calls
 * the steps in the order of the specification: roots, timestamp, snapshot, targets.
 *
 * Every step throws E_TUF_FORMAT or E_TUF_SIGNATURE, and what is said at it; each error names the file.
 */
export class TrustedMetadata {
  /** The one time against which everything of this update is judged (section 5.1). */
  readonly nowMs: number;
  readonly #at: (file: string) => string;
  readonly #mayExpire: (role: string) => boolean;
  #root: Metadata<Root>;
  #timestamp: Metadata<Timestamp> | undefined;
  #snapshot: Metadata<Snapshot> | undefined;
  /** What an earlier update trusted: nothing in the new snapshot may go back behind it. */
  #snapshotBefore: Metadata<Snapshot> | undefined;
  readonly #targets = new Map<string, Metadata<Targets>>();
  /** Who, as loaded now, was found to delegate to a role with its keys. */
  readonly #delegators = new WeakMap<Metadata<Targets>, Set<Delegator>>();

  /**
   * @param root the trusted one; it may be expired, for only the last of its chain may not (section 5.3.10).
   * @param options.at the cache or directory of a file, for errors.
   * @param options.mayExpire roles that are taken after their expiry too: for copies, which others judge again.
   */
  constructor(
    root: Uint8Array,
    options: { nowMs: number; at: (file: string) => string; mayExpire?: (role: string) => boolean },
  ) {
    this.nowMs = options.nowMs;
    this.#at = options.at;
    this.#mayExpire = options.mayExpire ?? (() => false);
    const where = this.#at('root.json');
    this.#root = parseMetadata('root', root, where);
    delegate(this.#root, 'root', this.#root, where);
  }

  get root(): Metadata<Root> {
    return this.#root;
  }

  get timestamp(): Metadata<Timestamp> {
    return this.#timestamp ?? tooEarly('timestamp');
  }

  get snapshot(): Metadata<Snapshot> {
    return this.#snapshot ?? tooEarly('snapshot');
  }

  targets(role: string): Metadata<Targets> | undefined {
    return this.#targets.get(role);
  }

  /** File name of a role at the repository; consistent snapshots carry the version (section 6.2). */
  fileOf(role: string, version: number): string {
    const versioned = role === 'root' || (role !== 'timestamp' && this.#root.signed.consistentSnapshot);
    return `${versioned ? `${version}.` : ''}${encodeURIComponent(role.toWellFormed())}.json`;
  }

  where(role: string, version: number): string {
    return this.#at(`metadata/${this.fileOf(role, version)}`);
  }

  /**
   * Takes the next root: signed by the keys of the one before and by its own (section 5.3.4 to 5.3.7).
   *
   * @returns true when timestamp and snapshot are signed by others from now on: what the old keys signed is dropped, for
   *   a stolen key may have counted its versions up so far that nothing newer would ever follow (section 5.3.11).
   * @throws E_TUF_ROLLBACK for any version but the next.
   */
  updateRoot(bytes: Uint8Array): boolean {
    const version = this.#root.signed.version + 1;
    const where = this.where('root', version);
    const next = parseMetadata('root', bytes, where);
    delegate(this.#root, 'root', next, where);
    checkVersion(next, version, where, 'root chain');
    delegate(next, 'root', next, where);
    const replaced = onlineKeys(this.#root) !== onlineKeys(next);
    this.#root = next;
    if (replaced) this.#timestamp = this.#snapshot = this.#snapshotBefore = undefined;
    return replaced;
  }

  /** Takes what an earlier update trusted, whatever its age, for the newer one to be compared with. */
  recallTimestamp(bytes: Uint8Array): void {
    const where = this.where('timestamp', 0);
    const recalled = parseMetadata('timestamp', bytes, where);
    delegate(this.#root, 'timestamp', recalled, where);
    this.#timestamp = recalled;
  }

  /** As {@link recallTimestamp}. */
  recallSnapshot(bytes: Uint8Array): void {
    const where = this.#at('metadata/snapshot.json');
    const recalled = parseMetadata('snapshot', bytes, where);
    delegate(this.#root, 'snapshot', recalled, where);
    this.#snapshotBefore = recalled;
  }

  /**
   * Section 5.4.
   *
   * @returns false when it has the version that is trusted already: then that one stays (section 5.4.3.1).
   * @throws E_TUF_EXPIRED (the root too), E_TUF_STALE, E_TUF_ROLLBACK when it names an older snapshot.
   */
  updateTimestamp(bytes: Uint8Array): boolean {
    this.#fresh('root', this.#root);
    const where = this.where('timestamp', 0);
    const next = parseMetadata('timestamp', bytes, where);
    delegate(this.#root, 'timestamp', next, where);
    const trusted = this.#timestamp?.signed;
    if (trusted !== undefined) {
      const [least, found] = [trusted.snapshotMeta.version, next.signed.snapshotMeta.version];
      if (next.signed.version < trusted.version) {
        throw older('E_TUF_STALE', 'timestamp', where, trusted.version, next.signed.version);
      }
      if (next.signed.version === trusted.version) {
        this.#fresh('timestamp', this.timestamp);
        return false;
      }
      if (found < least) throw older('E_TUF_ROLLBACK', 'snapshot that timestamp names', where, least, found);
    }
    this.#fresh('timestamp', next);
    this.#timestamp = next;
    return true;
  }

  /** Section 5.5. @throws E_TUF_HASH, E_TUF_ROLLBACK, E_TUF_EXPIRED. */
  updateSnapshot(bytes: Uint8Array): void {
    const meta = this.timestamp.signed.snapshotMeta;
    const where = this.where('snapshot', meta.version);
    checkMeta(meta, bytes, where, 'timestamp');
    const next = parseMetadata('snapshot', bytes, where);
    delegate(this.#root, 'snapshot', next, where);
    checkVersion(next, meta.version, where, 'timestamp');
    for (const [file, { version }] of Object.entries(this.#snapshotBefore?.signed.meta ?? {})) {
      const found = Object.hasOwn(next.signed.meta, file) ? next.signed.meta[file]!.version : 0;
      if (found < version)
        throw older('E_TUF_ROLLBACK', `${file} that snapshot names`, where, version, found);
    }
    this.#fresh('snapshot', next);
    this.#snapshot = next;
  }

  /** What the snapshot says of a role. @throws E_TARGET_UNKNOWN. */
  metaOf(role: string): MetaFile {
    const { meta } = this.snapshot.signed;
    const file = `${role}.json`;
    if (Object.hasOwn(meta, file)) return meta[file]!;
    throw unknownRole(`The snapshot names no role "${role}".`, this.#at(`metadata/${this.fileOf(role, 0)}`));
  }

  /** Section 5.6, for `targets` and for roles that it delegates to. @throws E_TUF_HASH, E_TUF_ROLLBACK, E_TUF_EXPIRED, E_TARGET_UNKNOWN. */
  updateTargets({ role, delegator }: Delegation, bytes: Uint8Array): void {
    const meta = this.metaOf(role);
    const where = this.where(role, meta.version);
    checkMeta(meta, bytes, where, 'snapshot');
    const next = parseMetadata('targets', bytes, where);
    const by = this.#delegator(delegator, where);
    delegate(by, role, next, where);
    checkVersion(next, meta.version, where, 'snapshot');
    this.#fresh(role, next);
    this.#targets.set(role, next);
    this.#delegators.set(next, new Set([by]));
  }

  /** Whether a role is trusted already; then also for this delegator, whose keys may be others. */
  holds({ role, delegator }: Delegation): boolean {
    const metadata = this.#targets.get(role);
    if (metadata === undefined) return false;
    const where = this.where(role, metadata.signed.version);
    const by = this.#delegator(delegator, where);
    const known = this.#delegators.get(metadata)!;
    if (!known.has(by)) delegate(by, role, metadata, where);
    known.add(by);
    return true;
  }

  /** As {@link searchDelegations}, among the roles that are trusted. */
  search(path: string): Generator<Delegation, TargetFile | undefined, void> {
    return searchDelegations(path, role => this.#targets.get(role), this.#at(`targets/${path}`));
  }

  /** Every role that is trusted, by name. */
  roles(): Map<string, AnyMetadata> {
    const { timestamp, snapshot } = this;
    return new Map<string, AnyMetadata>([
      ['root', this.#root],
      ['timestamp', timestamp],
      ['snapshot', snapshot],
      ...this.#targets,
    ]);
  }

  #delegator(name: string, where: string): Delegator {
    const delegator = name === 'root' ? this.#root : this.#targets.get(name);
    if (delegator !== undefined) return delegator;
    throw unknownRole(`The role "${name}" that delegates is not loaded.`, where);
  }

  #fresh(role: string, { signed }: AnyMetadata): void {
    if (this.nowMs < Date.parse(signed.expires) || this.#mayExpire(role)) return;
    throw signingError({
      code: 'E_TUF_EXPIRED',
      message: `The signature of the role "${role}" expired on ${signed.expires}.`,
      where: this.where(role, signed.version),
      expected: `a time after ${new Date(this.nowMs).toISOString()}`,
      found: signed.expires,
      rule: `expiry of ${role}`,
      fix:
        role === 'timestamp' || role === 'snapshot'
          ? 'Use another cache; in the repository, run "pilotage release refresh".'
          : `Have the role signed again: pilotage release resign ${role}, then release publish.`,
    });
  }
}

const unknownRole = (message: string, where: string) =>
  signingError({ code: 'E_TARGET_UNKNOWN', message, where, fix: 'Check the name; use another cache.' });

function tooEarly(role: string): never {
  throw new Error(`The ${role} is asked for before it was verified.`);
}
