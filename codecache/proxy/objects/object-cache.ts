import { once } from 'node:events';
import type { Clock } from '../../../lib/clock.ts';
import { notCached } from '../../errors.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import { BodyRoom } from './body-room.ts';
import { NO_BYTES, heldSource } from './body-source.ts';
import type { BodySource } from './body-source.ts';
import type { DiskKeeper, Forgotten } from './disk-keeper.ts';
import type { DiskStats, DiskTier } from './disk-tier.ts';
import type { Flight, Needs } from './flight.ts';
import type { HeldObject, MemoryStats, MemoryTier } from './memory-tier.ts';
import { ObjectFetch } from './object-fetch.ts';
import type { HashName } from './object-fetch.ts';
import type { OpenObject } from './open-objects.ts';
import { PassThrough } from './pass-through.ts';

export type { HashName } from './object-fetch.ts';

export type GotObject =
  | { how: 'hit' | 'miss' | 'joined'; source: BodySource }
  /** No upstream has it; or the client has left meanwhile. */
  | { how: 'missing' }
  | { how: 'left' };

export interface ObjectWish {
  /** Which bytes the answer will carry; it is waited for until the first of them may be given out. */
  needs: Needs;
  /** The caches this request came through, this one last. */
  via: string;
  /** Answer from what is here or comes from an upstream anyway; ask nobody (RFC 9111 5.2.1.7). */
  onlyIfCached?: boolean;
  /** Aborts when the client is gone: what nobody waits for is fetched no further, within bounds. */
  signal?: AbortSignal;
}

export interface ObjectStats {
  memory: MemoryStats;
  disk: DiskStats;
  /** Objects being fetched, and the memory that their bodies take. */
  flights: { objects: number; bytes: number };
}

/** An object of this cache's tiers: in memory, or verified in a file that its reader has to hold. */
type Stored = { held: HeldObject } | { file: OpenObject };

interface Lookup {
  stored: Promise<Stored | undefined>;
  forgotten: boolean;
}

/**
 * Hash-named objects: from memory, from disk, else fetched once for all who ask, verified before any answer is whole.
 * What is on disk and fits into memory is read once, hashed while it is read, and served from memory.
 */
export class ObjectCache {
  readonly #memory: MemoryTier;
  readonly #disk: DiskTier;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #room: BodyRoom;
  readonly #passing: PassThrough;
  readonly #fetches = new Map<string, ObjectFetch>();
  readonly #lookups = new Map<string, Lookup>();
  /** Fetches until their object is on disk. */
  readonly #underWay = new Set<Promise<void>>();

  /** @param options.maxBytes of one object. */
  constructor(options: {
    memory: MemoryTier;
    disk: DiskTier;
    keeper: DiskKeeper;
    clock: Clock;
    maxBytes: number;
  }) {
    this.#memory = options.memory;
    this.#disk = options.disk;
    this.#clock = options.clock;
    this.#maxBytes = options.maxBytes;
    // Bodies under way take at most half as much memory again, or as the largest that is held.
    const { maxBytes, maxObjectBytes } = options.memory;
    this.#room = new BodyRoom({
      maxBytes: Math.max(maxObjectBytes, maxBytes / 2),
      maxObjectBytes,
      disk: options.disk,
    });
    this.#passing = new PassThrough({ clock: options.clock, maxBytes: options.maxBytes });
    options.keeper.onForgotten(objects => this.#forget(objects));
  }

  /**
   * @returns a source to be released. @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last
   *   upstream tried; E_NOT_CACHED where nobody may be asked.
   */
  async get(upstreams: Upstreams, name: HashName, wish: ObjectWish): Promise<GotObject> {
    const { sha256 } = name;
    if (this.#running(sha256) === undefined) {
      const source = await this.#stored(sha256);
      if (source !== undefined) return { how: 'hit', source };
    }
    for (;;) {
      // It may have come while the disk was asked.
      const held = this.#memory.get(sha256);
      if (held !== undefined) return { how: 'hit', source: heldSource(held) };
      const running = this.#running(sha256);
      if (running === undefined && wish.onlyIfCached === true) throw notCached(name.path);
      const fetch = running ?? this.#start(upstreams, name, wish.via);
      const how = running === undefined ? 'miss' : running.end === 'verified' ? 'hit' : 'joined';
      const got = await this.#join(fetch, upstreams, name, wish, how);
      if (got !== undefined) return got;
    }
  }

  stats(): ObjectStats {
    return {
      memory: this.#memory.stats(),
      disk: this.#disk.stats(),
      flights: { objects: this.#fetches.size, bytes: this.#room.used },
    };
  }

  /** Waits for what is being fetched or written; close the upstreams before. */
  async close(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#disk.close();
    this.#memory.clear();
  }

  /** Waits for what a fetch brings. @returns undefined when it brings nothing for this wish, but another one may. */
  async #join(
    fetch: ObjectFetch,
    upstreams: Upstreams,
    name: HashName,
    wish: ObjectWish,
    how: 'hit' | 'miss' | 'joined',
  ): Promise<GotObject | undefined> {
    const { needs, onlyIfCached = false, signal } = wish;
    const left = signal === undefined ? new Promise<never>(() => undefined) : once(signal, 'abort');
    fetch.enter();
    for (;;) {
      const { flight, end } = fetch;
      if (flight?.ready(needs) === true) return { how, source: fetch.source(flight) };
      if (signal?.aborted === true) {
        fetch.leave();
        return { how: 'left' };
      }
      // What comes from another sibling may be on its way there from here: neither may wait for the other.
      if (onlyIfCached && (end !== undefined || flight === undefined || flight.from.sibling)) {
        fetch.leave();
        throw notCached(name.path);
      }
      if (end !== undefined) {
        fetch.leave();
        break;
      }
      await Promise.race([fetch.progress, left]);
    }
    const { end } = fetch;
    if (end === 'no-room') return this.#passThrough(upstreams, name, wish);
    // Whoever asks for these bytes by a path that no upstream has must not take them from the others.
    if (!fetch.speaksFor(upstreams, name.path)) return undefined;
    if (typeof end === 'object') throw end.failure;
    return end === 'missing' ? { how: 'missing' } : undefined;
  }

  /** A fetch that may still bring the object, or has just brought it. */
  #running(sha256: string): ObjectFetch | undefined {
    const fetch = this.#fetches.get(sha256);
    return fetch?.end === undefined || fetch.end === 'verified' ? fetch : undefined;
  }

  async #passThrough(upstreams: Upstreams, name: HashName, wish: ObjectWish): Promise<GotObject> {
    const source = await this.#passing.open(upstreams, name, wish);
    if (source !== undefined) return { how: 'miss', source };
    return { how: wish.signal?.aborted === true ? 'left' : 'missing' };
  }

  #start(upstreams: Upstreams, name: HashName, via: string): ObjectFetch {
    const { sha256 } = name;
    const ended = (): void => {
      if (this.#fetches.get(sha256) === fetch) this.#fetches.delete(sha256);
    };
    const fetch = new ObjectFetch({
      upstreams,
      name,
      via,
      room: this.#room,
      clock: this.#clock,
      maxBytes: this.#maxBytes,
      hold: flight =>
        flight.body.kind === 'memory'
          ? this.#memory.put(sha256, flight.body.body(), flight.startedMs)
          : undefined,
      onStopped: ended,
    });
    this.#fetches.set(sha256, fetch);
    const done = fetch.run().then(async flight => {
      if (flight !== undefined) await this.#keep(sha256, flight, ended);
      ended();
      this.#underWay.delete(done);
    });
    this.#underWay.add(done);
    return fetch;
  }

  /** Brings a verified body to disk; until it is there whoever comes is served from memory or from the flight. */
  async #keep(sha256: string, flight: Flight, held: () => void): Promise<void> {
    const { body } = flight;
    if (flight.held !== undefined) held();
    if (body.kind === 'file') await this.#disk.commit(body.file, sha256);
    else await this.#disk.put(sha256, flight.held?.body ?? body.body());
    // Before its file is closed: whoever comes from now on finds the object on disk.
    held();
    await flight.release();
  }

  /** From memory or disk. All who ask for an object at the same time share the look. */
  async #stored(sha256: string): Promise<BodySource | undefined> {
    const held = this.#memory.get(sha256);
    if (held !== undefined) return heldSource(held);
    let lookup = this.#lookups.get(sha256);
    if (lookup === undefined) {
      lookup = { forgotten: false, stored: Promise.resolve(undefined) };
      lookup.stored = this.#lookUp(sha256, lookup);
      this.#lookups.set(sha256, lookup);
    }
    const stored = await lookup.stored;
    if (stored === undefined) return undefined;
    this.#disk.used(sha256);
    return 'held' in stored ? heldSource(stored.held) : fileSource(stored.file);
  }

  async #lookUp(sha256: string, lookup: Lookup): Promise<Stored | undefined> {
    const file = await this.#disk.open(sha256);
    try {
      return file && (await this.#verified(sha256, file, lookup));
    } finally {
      // Those who wait take the file in the microtasks that follow; it stays open for a moment anyway.
      file?.release();
      if (this.#lookups.get(sha256) === lookup) this.#lookups.delete(sha256);
    }
  }

  async #verified(sha256: string, file: OpenObject, lookup: Lookup): Promise<Stored | undefined> {
    if (!this.#memory.takes(file.bytes) || !this.#room.take(file.bytes)) {
      const good = (await this.#disk.verify(sha256, file)) && !lookup.forgotten;
      return good ? { file } : undefined;
    }
    try {
      const body = await this.#disk.load(sha256, file);
      if (body === undefined || lookup.forgotten) return undefined;
      const held = this.#memory.put(sha256, body, file.storedMs);
      return held === undefined ? { file } : { held };
    } finally {
      this.#room.give(file.bytes);
    }
  }

  #forget(sha256s: Forgotten): void {
    if (sha256s === 'all') {
      for (const lookup of this.#lookups.values()) lookup.forgotten = true;
      this.#memory.clear();
      return this.#disk.forgetAll();
    }
    for (const sha256 of sha256s) {
      const lookup = this.#lookups.get(sha256);
      if (lookup !== undefined) lookup.forgotten = true;
      this.#memory.forget(sha256);
      this.#disk.forget(sha256);
    }
  }
}

function fileSource(file: OpenObject): BodySource {
  file.hold();
  let open = true;
  return {
    bytes: file.bytes,
    storedMs: file.storedMs,
    read: (position, end) => (open ? file.read(position, end) : Promise.resolve(NO_BYTES)),
    release: () => {
      if (open) file.release();
      open = false;
      return Promise.resolve();
    },
  };
}
