import { LRUCache } from 'lru-cache';
import type { ObjectName } from '../../http/object-name.ts';
import { readSigned } from './read-signed.ts';
import type { Meta, SignedPart } from './read-signed.ts';

/** A file as the metadata above it names it. */
export interface Named extends Meta {
  /** URL of the upstream whose metadata says so. */
  by: string;
}

/** A body in hand or kept. */
export interface Body {
  body: Buffer;
  sha256: string;
  /** URL of the upstream it came from. */
  upstream: string;
}

/** What a file should have been, and what it is. */
export interface Misnamed {
  expected: string;
  found: string;
  /** URL of the upstream whose metadata says so. */
  by: string;
}

/** `unknown`: nothing kept names it (yet). */
export type Verdict = 'fits' | 'unknown' | Misnamed;

/** Names of many past versions: nodes in the middle of a refresh still ask for them. */
const MAX_NAMED = 4096;
/** Of one snapshot; what it names beyond is served unchecked. */
const MAX_ROLES = 1024;
const ROLE_FILE = /^[a-z0-9-]{1,64}\.json$/;

/**
 * What the signed metadata of one view says of other files: the timestamp names the snapshot, a snapshot that fits names
 * the roles, each by version, length and sha256. A chain without keys: it proves that all came from whoever made the
 * timestamp, and finds the upstream that contradicts itself. Where two upstreams contradict each other it does not tell
 * who is right.
 */
export class SignedNames {
  readonly #named = new LRUCache<string, Named>({ max: MAX_NAMED });
  #timestamp: { version: number; upstream: string; snapshot: string | undefined } | undefined;
  #lastRoot = 0;
  #nextRoot: number | undefined;

  /** The timestamp in force: its version, whose it is, and the path of the snapshot it names. */
  get timestamp(): { version: number; upstream: string; snapshot: string | undefined } | undefined {
    return this.#timestamp;
  }

  named(path: string): Named | undefined {
    return this.#named.get(path);
  }

  judge(name: ObjectName, body: Pick<Body, 'body' | 'sha256'>): Verdict {
    const named = this.#named.get(name.path);
    return named === undefined ? 'unknown' : (misnamed(named, body) ?? 'fits');
  }

  /**
   * Whether a client has reason to ask for it: what is named, and roots up to the first that is missing, which every
   * client asks for. The number of such names is small whatever clients ask for.
   */
  expects(name: ObjectName): boolean {
    if (name.kind === 'root') return name.version <= this.#lastRoot + 1 || name.version === this.#nextRoot;
    return name.kind === 'timestamp' || this.#named.has(name.path);
  }

  /** Takes note of what is nowhere. */
  learnMissing(name: ObjectName): void {
    if (name.kind === 'root') this.#nextRoot = Math.min(this.#nextRoot ?? Infinity, name.version);
  }

  /**
   * Takes in what a kept file names. A snapshot that is not named itself is not believed.
   *
   * @returns paths that are named now and were not, or otherwise.
   */
  learn(name: ObjectName, kept: Body): string[] {
    if (name.kind === 'root') {
      this.#lastRoot = Math.max(this.#lastRoot, name.version);
      if (this.#lastRoot >= (this.#nextRoot ?? Infinity)) this.#nextRoot = undefined;
    }
    const snapshot = name.kind === 'versioned' && name.role === 'snapshot';
    if (name.kind !== 'timestamp' && !(snapshot && this.judge(name, kept) === 'fits')) return [];
    const read = readSigned(kept.body);
    if (typeof read === 'string') return [];
    return name.kind === 'timestamp' ? this.#learnTimestamp(read, kept) : this.#learnRoles(read, kept);
  }

  #learnTimestamp({ version, meta }: SignedPart, { upstream }: Body): string[] {
    const named = meta.get('snapshot.json');
    const snapshot = named && `metadata/${named.version}.snapshot.json`;
    // The other one's names go with its timestamp: were they forged, honest files would not fit for ever.
    if (this.#timestamp !== undefined && this.#timestamp.upstream !== upstream) this.#named.clear();
    this.#timestamp = { version, upstream, snapshot };
    return named && snapshot ? this.#name(snapshot, { ...named, by: upstream }) : [];
  }

  #learnRoles({ meta }: SignedPart, { upstream }: Body): string[] {
    return [...meta]
      .slice(0, MAX_ROLES)
      .flatMap(([file, named]) =>
        ROLE_FILE.test(file) && file !== 'root.json' && file !== 'snapshot.json'
          ? this.#name(`metadata/${named.version}.${file}`, { ...named, by: upstream })
          : [],
      );
  }

  #name(path: string, named: Named): string[] {
    const before = this.#named.get(path);
    this.#named.set(path, named);
    return before?.sha256 === named.sha256 && before?.length === named.length ? [] : [path];
  }
}

/** Compares a body with what is named; undefined where nothing says otherwise. */
export function misnamed(
  named: Named | undefined,
  { body, sha256 }: Pick<Body, 'body' | 'sha256'>,
): Misnamed | undefined {
  if (named === undefined) return undefined;
  if ((named.length ?? body.length) === body.length && (named.sha256 ?? sha256) === sha256) return undefined;
  return { expected: expectedOf(named), found: `sha256 ${sha256}, ${body.length} bytes`, by: named.by };
}

const expectedOf = ({ sha256, length, by }: Named): string =>
  `${sha256 === undefined ? 'any sha256' : `sha256 ${sha256}`}, ${length ?? 'any number of'} bytes, as the metadata of ${by} names it`;
