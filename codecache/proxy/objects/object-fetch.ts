import type { Clock } from '../../../lib/clock.ts';
import { PilotageError } from '../../../lib/errors.ts';
import type { ObjectName } from '../../http/object-name.ts';
import { dump } from '../upstreams/ask-upstream.ts';
import { sooner } from '../upstreams/upstream-failure.ts';
import type { Upstream } from '../upstreams/upstream.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import { NoRoomError } from './body-room.ts';
import type { BodyRoom } from './body-room.ts';
import type { BodySource } from './body-source.ts';
import { Flight } from './flight.ts';
import type { HeldObject } from './memory-tier.ts';
import { Progress } from './progress.ts';

export type HashName = Extract<ObjectName, { kind: 'hash-named' }>;

export interface FetchOptions {
  upstreams: Upstreams;
  name: HashName;
  /** The caches that the request came through, this one last. */
  via: string;
  room: BodyRoom;
  clock: Clock;
  maxBytes: number;
  /** Puts a verified body where memory serves it from, if it fits there. */
  hold: (flight: Flight) => HeldObject | undefined;
  /** Called once, when nobody is served any more who comes now. */
  onStopped: () => void;
}

/** How a fetch ended: no upstream has the object, neither memory nor disk can hold it, or a failure. */
export type FetchEnd = 'verified' | 'missing' | 'no-room' | { failure: unknown };

/** With nobody waiting any more, so many bytes are still fetched for whoever comes next; or the second half of a body. */
const FINISH_BYTES = 4 << 20;

/**
 * One object being fetched for all who ask for it, from one upstream after the other until its hash fits. A body that
 * does not fit its name is asked for once more past the caches above (no-cache), then from the next upstream; who sent
 * it is named in log and counters. The fetch belongs to nobody: it goes on whoever leaves, and is given up only when the
 * last one has left and most of a large body is still to come.
 */
export class ObjectFetch {
  readonly #options: FetchOptions;
  readonly #progress = new Progress();
  #flight: Flight | undefined;
  #end: FetchEnd | undefined;
  #users = 0;
  #stop: (() => void) | undefined;

  constructor(options: FetchOptions) {
    this.#options = options;
  }

  /** The flight clients may read from now; another one when an attempt failed and the next upstream is asked. */
  get flight(): Flight | undefined {
    return this.#flight;
  }

  get end(): FetchEnd | undefined {
    return this.#end;
  }

  /** Resolves when there is more to read, another flight, or the end. */
  get progress(): Promise<void> {
    return this.#progress.next;
  }

  /** Whether what it found out holds for whoever asks these upstreams for this path. */
  speaksFor(upstreams: Upstreams, path: string): boolean {
    return this.#options.upstreams === upstreams && this.#options.name.path === path;
  }

  /** Somebody waits for the object or reads it, until {@link leave}. */
  enter(): void {
    this.#users += 1;
  }

  leave(): void {
    this.#users -= 1;
    this.#giveUpIfUseless();
  }

  /** Hands a flight to one that has entered; its release is the leaving. */
  source(flight: Flight): BodySource {
    flight.hold();
    let open = true;
    return {
      bytes: flight.verified ? flight.written : flight.length!,
      storedMs: flight.startedMs,
      ...(flight.held !== undefined && { memory: flight.held }),
      read: (position, end) => flight.read(position, end, () => open),
      release: async () => {
        if (!open) return;
        open = false;
        this.leave();
        this.#progress.wake();
        await flight.release();
      },
    };
  }

  /** @returns the verified flight, to be released; undefined when there is none. Never rejects. */
  async run(): Promise<Flight | undefined> {
    try {
      this.#end = (await this.#tryAll()) ? 'verified' : 'missing';
    } catch (failure) {
      this.#end = failure instanceof NoRoomError ? 'no-room' : { failure };
    }
    this.#progress.wake();
    return this.#end === 'verified' ? this.#flight : undefined;
  }

  async #tryAll(): Promise<boolean> {
    const { upstreams, name, via } = this.#options;
    let failure: unknown;
    for (const upstream of upstreams.order({ object: name.sha256 })) {
      for (const noCache of [false, true]) {
        try {
          const headers = { via, ...(noCache && { 'cache-control': 'no-cache', pragma: 'no-cache' }) };
          if (await this.#attempt(upstream, headers)) return true;
          break;
        } catch (error) {
          if (error instanceof NoRoomError || this.#users === 0) throw error;
          // A sibling that fails is no reason to fail: nobody has to have siblings.
          if (upstream.sibling) break;
          failure = sooner(failure, error);
          if (!forged(error)) break;
        }
      }
    }
    if (failure !== undefined) throw failure;
    return false;
  }

  /** @returns whether this upstream has the object: it is verified then. */
  async #attempt(upstream: Upstream, headers: Record<string, string>): Promise<boolean> {
    const { upstreams, name, room, clock, maxBytes, hold } = this.#options;
    const reply = await upstreams.ask(upstream, name.path, headers);
    if (reply.status !== 200) {
      await dump(reply);
      return false;
    }
    let flight: Flight | undefined;
    let stopped = false;
    try {
      const length = announcedLength(reply.headers);
      if (length !== undefined && !(length <= maxBytes))
        throw upstreams.blame(upstream, name.path, `at most ${maxBytes} bytes`, `${length} bytes`);
      const body = await room.open(length);
      const startedMs = clock.now();
      flight = new Flight({ from: upstream, length, startedMs, body, room, progress: this.#progress });
      this.#flight = flight;
      this.#progress.wake();
      this.#stop = () => {
        stopped = true;
        reply.body.destroy();
      };
      this.#giveUpIfUseless();
      const found = await flight.receive(reply.body as AsyncIterable<Buffer>, maxBytes);
      if (found !== name.sha256)
        throw upstreams.blame(upstream, name.path, `sha256 ${name.sha256}`, `sha256 ${found}`);
      this.#stop = undefined;
      flight.verify(hold(flight));
      return true;
    } catch (error) {
      this.#stop = undefined;
      this.#flight = undefined;
      reply.body.destroy();
      const failure = stopped ? error : this.#judge(upstream, error);
      await flight?.fail(failure);
      throw failure;
    }
  }

  /** What went wrong with a body, told of the upstream that is to blame for it. */
  #judge(upstream: Upstream, error: unknown): unknown {
    const { upstreams, name } = this.#options;
    if (error instanceof NoRoomError) return error;
    if (!(error instanceof PilotageError)) return upstreams.failed(upstream, name.path, error);
    if (forged(error) && error.where === undefined)
      return upstreams.blame(upstream, name.path, error.expected ?? '', error.found ?? '');
    return error;
  }

  #giveUpIfUseless(): void {
    const flight = this.#flight;
    if (this.#users > 0 || flight === undefined || this.#stop === undefined) return;
    const { length = Number.POSITIVE_INFINITY, written } = flight;
    if (length - written <= FINISH_BYTES || written * 2 >= length) return;
    this.#options.onStopped();
    this.#stop();
  }
}

const forged = (error: unknown): boolean =>
  error instanceof PilotageError && error.code === 'E_UPSTREAM_FORGED';

function announcedLength(headers: Record<string, string>): number | undefined {
  const announced = headers['content-length'];
  return announced === undefined ? undefined : Number(announced);
}
