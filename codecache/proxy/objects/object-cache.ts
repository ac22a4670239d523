import type { Clock } from '../../../lib/clock.ts';
import { PilotageError, fromSystemError } from '../../../lib/errors.ts';
import { notCached } from '../../errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import { fileSource, heldSource } from './body-source.ts';
import type { BodySource } from './body-source.ts';
import { Flight } from './flight.ts';
import type { HeldObject, MemoryTier } from './memory-tier.ts';
import type { ObjectStore } from './object-store.ts';
import { dump } from '../upstreams/upstreams.ts';
import type { Upstream, UpstreamAnswer, Upstreams } from '../upstreams/upstreams.ts';

export type HashName = Extract<ObjectName, { kind: 'hash-named' }>;
export type GotObject = { how: 'hit' | 'miss' | 'joined'; source: BodySource } | { how: 'missing' };

export interface ObjectWish {
  /** Wait until the object is verified (ranges); else a large one may be read while it arrives. */
  wholeOnly: boolean;
  /** Only what is kept; nobody is asked, and no fetch under way is waited for. */
  onlyIfCached: boolean;
  /** The caches this request came through, this one last. */
  via: string;
}

type Ready = { flight: Flight } | 'missing';

interface Fetch {
  /** What upstreams are asked for; the same bytes may be asked for by another path. */
  path: string;
  /** The flight clients may read from now; replaced when an attempt fails and the next upstream is asked. */
  current: Flight | undefined;
  /** Resolves when `current` became streamable or the fetch ended; then made anew. */
  changed: PromiseWithResolvers<void>;
  ended: Ready | { failure: unknown } | undefined;
}

/**
 * Hash-named objects: from the store, else fetched once for all who ask. A body that does not fit its name is asked for
 * once more past the caches above (no-cache), then from the next upstream; who sent it is named in log and counters.
 */
export class ObjectCache {
  readonly #memory: MemoryTier;
  readonly #store: ObjectStore;
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #fetches = new Map<string, Fetch>();
  readonly #loads = new Map<string, Promise<HeldObject | undefined>>();

  constructor(options: { memory: MemoryTier; store: ObjectStore; clock: Clock; maxBytes: number }) {
    this.#memory = options.memory;
    this.#store = options.store;
    this.#clock = options.clock;
    this.#maxBytes = options.maxBytes;
  }

  /**
   * @throws E_UPSTREAM_FAILED, E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream tried; E_NOT_CACHED where
   *   nobody may be asked.
   */
  async get(upstreams: Upstreams, name: HashName, wish: ObjectWish): Promise<GotObject> {
    const { wholeOnly, onlyIfCached, via } = wish;
    let how: 'hit' | 'miss' | 'joined' = 'hit';
    const held = this.#memory.get(name.sha256) ?? (await this.#load(name.sha256));
    if (held !== undefined) return { how, source: heldSource(held) };
    if (!this.#fetches.has(name.sha256)) {
      const kept = await this.#store.open(name.sha256);
      if (kept !== undefined) return { how, source: fileSource(kept.file, kept.bytes, kept.storedMs) };
    }
    if (onlyIfCached) throw notCached(name.path);
    let fetch = this.#fetches.get(name.sha256);
    how = fetch === undefined ? 'miss' : 'joined';
    fetch ??= this.#start(upstreams, name, via);
    for (;;) {
      const { ended, current } = fetch;
      if (typeof ended === 'object' && 'flight' in ended) return { how, source: ended.flight.source() };
      if (ended !== undefined && fetch.path !== name.path) {
        // Whoever asks for these bytes by a path that no upstream has must not take them from the others.
        fetch = this.#fetches.get(name.sha256) ?? this.#start(upstreams, name, via);
        continue;
      }
      if (ended === 'missing') return { how: 'missing' };
      if (ended !== undefined) throw ended.failure;
      if (!wholeOnly && current?.streamable === true) return { how, source: current.source() };
      await fetch.changed.promise;
    }
  }

  /** Brings an object from disk into memory; its bytes are hashed each time. */
  #load(sha256: string): Promise<HeldObject | undefined> {
    const running = this.#loads.get(sha256);
    if (running !== undefined) return running;
    const load = this.#store
      .read(sha256, this.#memory.maxObjectBytes)
      .then(read => read && this.#memory.put(sha256, read.body, read.storedMs))
      .finally(() => this.#loads.delete(sha256));
    this.#loads.set(sha256, load);
    return load;
  }

  #start(upstreams: Upstreams, name: HashName, via: string): Fetch {
    const { path } = name;
    const fetch: Fetch = { path, current: undefined, changed: Promise.withResolvers(), ended: undefined };
    this.#fetches.set(name.sha256, fetch);
    void this.#run(upstreams, name, fetch, via);
    return fetch;
  }

  async #run(upstreams: Upstreams, name: HashName, fetch: Fetch, via: string): Promise<void> {
    let flight: Flight | undefined;
    try {
      flight = await this.#tryAll(upstreams, name, fetch, via);
      fetch.ended = flight === undefined ? 'missing' : { flight };
    } catch (failure) {
      fetch.ended = { failure };
    }
    wake(fetch);
    this.#fetches.delete(name.sha256);
    // Those who waited took their reader in the microtasks of wake(); the receiver's own hold on the file can go.
    setImmediate(() => void flight?.release());
  }

  async #tryAll(
    upstreams: Upstreams,
    name: HashName,
    fetch: Fetch,
    via: string,
  ): Promise<Flight | undefined> {
    let failure: unknown;
    for (const upstream of upstreams.order({ object: name.sha256 })) {
      for (const noCache of [false, true]) {
        try {
          const flight = await this.#attempt(upstreams, upstream, name, fetch, {
            via,
            ...(noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }),
          });
          if (flight !== undefined) return flight;
          break;
        } catch (error) {
          // A sibling that fails is no reason to fail: nobody has to have siblings.
          if (!upstream.sibling) failure = error;
          if (!(error instanceof PilotageError) || error.code !== 'E_UPSTREAM_FORGED') break;
        }
      }
    }
    if (failure !== undefined) throw failure;
    return undefined;
  }

  /** @returns the verified flight, or undefined when the upstream does not have the object. */
  async #attempt(
    upstreams: Upstreams,
    upstream: Upstream,
    name: HashName,
    fetch: Fetch,
    headers: Record<string, string>,
  ): Promise<Flight | undefined> {
    const reply = await upstreams.ask(upstream, name.path, headers);
    if (reply.status !== 200) {
      await dump(reply);
      return undefined;
    }
    const flight = await this.#begin(upstreams, upstream, name, reply);
    fetch.current = flight;
    if (flight.streamable) wake(fetch);
    try {
      await this.#receive(upstreams, upstream, name, reply, flight);
      flight.verified();
      return flight;
    } catch (error) {
      fetch.current = undefined;
      reply.body.destroy();
      await flight.failed(error);
      await flight.release();
      throw error;
    }
  }

  async #begin(
    upstreams: Upstreams,
    upstream: Upstream,
    name: HashName,
    reply: UpstreamAnswer,
  ): Promise<Flight> {
    const announced = reply.headers['content-length'];
    const length = announced === undefined ? undefined : Number(announced);
    if (length !== undefined && !(length <= this.#maxBytes)) {
      reply.body.destroy();
      throw upstreams.blame(upstream, name.path, `at most ${this.#maxBytes} bytes`, `${announced} bytes`);
    }
    try {
      const { path, file } = await this.#store.incoming();
      return new Flight({ file, path, length, startedMs: this.#clock.now() });
    } catch (error) {
      reply.body.destroy();
      throw error;
    }
  }

  async #receive(
    upstreams: Upstreams,
    upstream: Upstream,
    name: HashName,
    reply: UpstreamAnswer,
    flight: Flight,
  ): Promise<void> {
    let found: string;
    try {
      found = await flight.receive(reply.body as AsyncIterable<Buffer>, this.#maxBytes);
    } catch (error) {
      if (error instanceof PilotageError) {
        if (error.code !== 'E_UPSTREAM_FORGED') throw error;
        throw upstreams.blame(upstream, name.path, error.expected ?? '', error.found ?? '');
      }
      throw upstreams.failed(upstream, name.path, error);
    }
    if (found !== name.sha256) {
      throw upstreams.blame(upstream, name.path, `sha256 ${name.sha256}`, `sha256 ${found}`);
    }
    upstreams.worked(upstream);
    try {
      await this.#store.commit(flight.path, flight.file, name.sha256, flight.written, this.#clock.now());
    } catch (error) {
      throw error instanceof PilotageError ? error : fromSystemError(error, flight.path);
    }
  }
}

function wake(fetch: Fetch): void {
  const { resolve } = fetch.changed;
  fetch.changed = Promise.withResolvers();
  resolve();
}
