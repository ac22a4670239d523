import { createHash } from 'node:crypto';
import type { Clock } from '../../../lib/clock.ts';
import { codecacheError } from '../../errors.ts';
import { dump } from '../upstreams/ask-upstream.ts';
import type { UpstreamAnswer } from '../upstreams/ask-upstream.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import { pieceOf } from './body-source.ts';
import type { BodySource, Piece } from './body-source.ts';
import { HELD_BACK_BYTES, WHOLE_FIRST_BYTES } from './flight.ts';
import type { Needs } from './flight.ts';
import type { HashName } from './object-fetch.ts';

/** Objects passed through at a time; the next ones wait for one of these to end, which has a deadline. */
const MAX_AT_ONCE = 16;
/** Clients that wait for their turn; more are told to come again. */
const MAX_WAITING = 1024;

/**
 * What neither memory nor disk can hold is fetched for each client by itself and kept nowhere. The end of each answer
 * is held back until the hash of the whole object fits, as with a {@link Flight}.
 */
export class PassThrough {
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #waiting = new Set<() => void>();
  #running = 0;

  constructor(options: { clock: Clock; maxBytes: number }) {
    this.#clock = options.clock;
    this.#maxBytes = options.maxBytes;
  }

  /**
   * @returns undefined when no upstream has the object, or the client has left. @throws E_UPSTREAM_FAILED,
   *   E_UPSTREAM_TIMEOUT, E_UPSTREAM_FORGED of the last upstream tried, as long as no byte was given out; E_CACHE_BUSY
   *   when too many wait.
   */
  async open(
    upstreams: Upstreams,
    name: HashName,
    { needs, via, signal }: { needs: Needs; via: string; signal?: AbortSignal },
  ): Promise<BodySource | undefined> {
    if (!(await this.#enter(name.path, signal))) return undefined;
    let failure: unknown;
    try {
      for (const upstream of upstreams.order({ object: name.sha256 })) {
        if (signal?.aborted === true) break;
        try {
          const body = await this.#begin({ upstreams, upstream, name, needs, via });
          if (body !== undefined) return body.source(this.#clock.now(), () => this.#leave());
        } catch (error) {
          if (!upstream.sibling) failure = error;
        }
      }
    } catch (error) {
      failure = error;
    }
    this.#leave();
    if (failure !== undefined) throw failure;
    return undefined;
  }

  /** @returns a body whose first needed byte may be given out. */
  async #begin(way: {
    upstreams: Upstreams;
    upstream: Upstream;
    name: HashName;
    needs: Needs;
    via: string;
  }): Promise<PassingBody | undefined> {
    const { upstreams, upstream, name, needs, via } = way;
    const reply = await upstreams.ask(upstream, name.path, { via });
    if (reply.status !== 200) {
      await dump(reply);
      return undefined;
    }
    const length = Number(reply.headers['content-length']);
    if (!(length <= this.#maxBytes)) {
      reply.body.destroy();
      throw upstreams.failed(upstream, name.path, 'no content-length, or one over the limit');
    }
    const body = new PassingBody({ upstreams, upstream, name, reply, length, part: needs(length) });
    await body.begin();
    return body;
  }

  /** @returns false when the client left before its turn. @throws E_CACHE_BUSY. */
  async #enter(path: string, signal: AbortSignal | undefined): Promise<boolean> {
    if (signal?.aborted === true) return false;
    if (this.#running < MAX_AT_ONCE) {
      this.#running += 1;
      return true;
    }
    if (this.#waiting.size >= MAX_WAITING) throw busy(path);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const enter = (): void => resolve(true);
    this.#waiting.add(enter);
    signal?.addEventListener('abort', () => this.#waiting.delete(enter) && resolve(false), { once: true });
    return promise;
  }

  /** The place goes to whoever waits longest. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#running -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

const busy = (path: string) =>
  codecacheError({
    code: 'E_CACHE_BUSY',
    message: 'Too many clients wait for objects that neither the disk nor the memory of the cache can hold.',
    where: path,
    fix: 'Ask again later; look in the log of the cache for why its disk takes nothing.',
    retryAfterSeconds: 5,
  });

/** A body from one upstream on its way to one client. */
class PassingBody {
  readonly #upstreams: Upstreams;
  readonly #upstream: Upstream;
  readonly #name: HashName;
  readonly #reply: UpstreamAnswer;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #length: number;
  readonly #bodiless: boolean;
  readonly #start: number;
  readonly #end: number;
  /** Nothing from here on is given out before the hash fits. */
  readonly #heldFrom: number;
  readonly #hash = createHash('sha256');
  /** What has arrived and is to be given out, from `#given` on. */
  #queue: Buffer[] = [];
  #queued = 0;
  #given: number;
  #arrived = 0;
  #verified = false;

  constructor(options: {
    upstreams: Upstreams;
    upstream: Upstream;
    name: HashName;
    reply: UpstreamAnswer;
    length: number;
    part: { start: number; end: number } | undefined;
  }) {
    const { length, part, reply } = options;
    this.#upstreams = options.upstreams;
    this.#upstream = options.upstream;
    this.#name = options.name;
    this.#reply = reply;
    this.#chunks = (reply.body as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
    this.#length = length;
    this.#bodiless = part === undefined;
    this.#start = part?.start ?? 0;
    this.#end = part?.end ?? -1;
    this.#given = this.#start;
    this.#heldFrom = length <= WHOLE_FIRST_BYTES ? 0 : this.#end + 1 - HELD_BACK_BYTES;
  }

  /** Waits until the first byte, or the answer that there is none, may be given out. @throws what the upstream is to blame for. */
  async begin(): Promise<void> {
    if (this.#bodiless) return;
    while (this.#free() === 0 && !this.#verified) await this.#pull();
  }

  source(storedMs: number, onRelease: () => void): BodySource {
    let open = true;
    return {
      bytes: this.#length,
      storedMs,
      read: position => this.#read(position),
      release: () => {
        if (open) {
          this.#reply.body.destroy();
          onRelease();
        }
        open = false;
        return Promise.resolve();
      },
    };
  }

  async #read(position: number): Promise<Piece> {
    if (position !== this.#given) throw new Error('a body that is passed through is read once, in order');
    while (this.#free() === 0 && !this.#verified) await this.#pull();
    const [first = Buffer.alloc(0)] = this.#queue;
    const bytes = first.subarray(0, this.#free());
    if (bytes.length === first.length) this.#queue.shift();
    else this.#queue[0] = first.subarray(bytes.length);
    this.#given += bytes.length;
    this.#queued -= bytes.length;
    return pieceOf(bytes);
  }

  /** Bytes that may be given out now. */
  #free(): number {
    return this.#verified ? this.#queued : Math.max(0, Math.min(this.#queued, this.#heldFrom - this.#given));
  }

  async #pull(): Promise<void> {
    let next: IteratorResult<Buffer>;
    try {
      next = await this.#chunks.next();
    } catch (error) {
      throw this.#upstreams.failed(this.#upstream, this.#name.path, error);
    }
    if (next.done === true) return this.#judge();
    const chunk = next.value;
    this.#hash.update(chunk);
    const wanted = chunk.subarray(
      Math.max(0, this.#start - this.#arrived),
      Math.max(0, this.#end + 1 - this.#arrived),
    );
    this.#arrived += chunk.length;
    if (wanted.length === 0) return;
    this.#queue.push(wanted);
    this.#queued += wanted.length;
  }

  /** @throws E_UPSTREAM_FORGED when the bytes are not what their name says. */
  #judge(): void {
    const found = this.#hash.digest('hex');
    if (found !== this.#name.sha256) {
      this.#queue = [];
      throw this.#upstreams.blame(
        this.#upstream,
        this.#name.path,
        `sha256 ${this.#name.sha256}`,
        `sha256 ${found}`,
      );
    }
    this.#verified = true;
  }
}
