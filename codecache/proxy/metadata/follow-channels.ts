import type * as z from 'zod';
import { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import { ChannelPointer } from '../../../lib/protocol/release.ts';
import { hashedTargetPath } from '../../../signing/release/layout.ts';
import { objectName } from '../../http/object-name.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { DiskKeeper } from '../objects/disk-keeper.ts';
import type { HashName, ObjectCache } from '../objects/object-cache.ts';
import type { AnswerCache } from './answer-cache.ts';
import type { View } from './kept-metadata.ts';
import { readSigned } from './read-signed.ts';

export interface FollowerParts {
  answers: Pick<AnswerCache, 'get' | 'onChanged'>;
  objects: Pick<ObjectCache, 'get'>;
  keeper: Pick<DiskKeeper, 'pin'>;
  /** This cache, as upstreams are told. */
  via: string;
  log: Logger;
}

/** Signed small targets that every node reads: channel pointers, the map of queues. */
const SMALL_TARGET = /^(channels|queues)\/[^/]+\.json$/;
const MAX_SMALL_BYTES = 1 << 16;
const MAX_ROLES = 64;
const MAX_SMALL_TARGETS = 64;
const MAX_PINS = 4096;

/**
 * Follows what the signed metadata of each view says: fetches what a new timestamp leads to (snapshot, roles, channel
 * pointers), one file after the other, so that the nodes that come find it; then pins what the pointers name, current and
 * previous, so that no other object pushes it from the disk. The releases themselves are fetched when a node asks.
 */
export class ChannelFollower {
  readonly #parts: FollowerParts;
  readonly #waiting = new Set<View>();
  readonly #pinned = new Map<string, readonly string[]>();
  #running: Promise<void> | undefined;
  readonly #closed = new AbortController();

  constructor(parts: FollowerParts) {
    this.#parts = parts;
    parts.answers.onChanged(view => this.#changed(view));
  }

  /** Other signed metadata than before is kept for this view. */
  #changed(view: View): void {
    if (this.#closed.signal.aborted) return;
    this.#waiting.add(view);
    this.#running ??= this.#run();
  }

  /** Waits for the file that is being fetched. */
  async close(): Promise<void> {
    this.#closed.abort();
    this.#waiting.clear();
    await this.#running;
  }

  async #run(): Promise<void> {
    // Whoever told of the change is answered first.
    await new Promise(setImmediate);
    for (const view of this.#waiting) {
      this.#waiting.delete(view);
      await this.#pin(view);
    }
    this.#running = undefined;
    if (this.#waiting.size > 0) this.#running = this.#run();
  }

  async #pin(view: View): Promise<void> {
    const pins = new Set<string>();
    let complete = true;
    for (const { path, sha256 } of await this.#smallTargets(view)) {
      const name = objectName(`targets/${hashedTargetPath(path, sha256)}`) as HashName;
      const bytes = await this.#have(name.path, () => this.#object(view, name));
      complete &&= bytes !== undefined;
      pins.add(sha256);
      for (const artefact of bytes === undefined ? [] : artefactsOf(bytes)) pins.add(artefact);
    }
    if (this.#closed.signal.aborted) return;
    // Where a pointer cannot be had now, what it named before stays pinned.
    const before = this.#pinned.get(view.id) ?? [];
    const all = complete && pins.size > 0 ? [...pins] : [...new Set([...pins, ...before])].slice(0, MAX_PINS);
    this.#pinned.set(view.id, all);
    this.#parts.keeper.pin(view.id, all);
  }

  async #smallTargets(view: View): Promise<{ path: string; sha256: string }[]> {
    const get = async (path: string) => {
      const name = objectName(path);
      const body = await this.#have(path, () => this.#metadata(view, name));
      const read = body === undefined ? undefined : readSigned(body);
      return typeof read === 'object' ? read : undefined;
    };
    const timestamp = await get('metadata/timestamp.json');
    const version = timestamp?.meta.get('snapshot.json')?.version;
    const snapshot = version === undefined ? undefined : await get(`metadata/${version}.snapshot.json`);
    const found = new Map<string, { path: string; sha256: string }>();
    for (const [file, meta] of [...(snapshot?.meta ?? [])].slice(0, MAX_ROLES)) {
      const role = await get(`metadata/${meta.version}.${file}`);
      for (const [path, { sha256, length }] of role?.targets ?? []) {
        if (SMALL_TARGET.test(path) && length <= MAX_SMALL_BYTES && found.size < MAX_SMALL_TARGETS)
          found.set(path, { path, sha256 });
      }
    }
    return [...found.values()];
  }

  async #metadata(view: View, name: ObjectName): Promise<Buffer | undefined> {
    const { answer } = await this.#parts.answers.get(view, name, { noCache: false, via: this.#parts.via });
    return answer.status === 200 ? answer.body : undefined;
  }

  async #object({ upstreams }: View, name: HashName): Promise<Buffer | undefined> {
    const got = await this.#parts.objects.get(upstreams, name, {
      needs: bytes => ({ start: 0, end: bytes - 1 }),
      via: this.#parts.via,
      signal: this.#closed.signal,
    });
    if (!('source' in got)) return undefined;
    const { source } = got;
    try {
      const parts: Buffer[] = [];
      for (let at = 0; at < Math.min(source.bytes, MAX_SMALL_BYTES);) {
        const { bytes, free } = await source.read(at, source.bytes - 1);
        parts.push(Buffer.from(bytes));
        at += bytes.length;
        free();
        if (bytes.length === 0) return undefined;
      }
      return Buffer.concat(parts);
    } finally {
      await source.release();
    }
  }

  async #have(path: string, get: () => Promise<Buffer | undefined>): Promise<Buffer | undefined> {
    if (this.#closed.signal.aborted) return undefined;
    try {
      return await get();
    } catch (error) {
      const { code, where } = error as Partial<PilotageError>;
      if (!(error instanceof PilotageError))
        this.#parts.log.error({ err: error, path }, 'a signed file cannot be read');
      else this.#parts.log.debug({ path, code, where }, 'a signed file is not there yet');
      return undefined;
    }
  }
}

const Pointer = ChannelPointer.pick({ current: true, previous: true });

/** Hashes of what a channel's pointer names, current and previous; none of what is no pointer. */
export function artefactsOf(bytes: Buffer): string[] {
  let pointer: z.output<typeof Pointer>;
  try {
    pointer = Pointer.parse(JSON.parse(bytes.toString('utf8')));
  } catch {
    return [];
  }
  return [pointer.current, pointer.previous].flatMap(build =>
    build === null ? [] : [build.pilot, ...Object.values(build.runtimes)].map(({ sha256 }) => sha256),
  );
}
