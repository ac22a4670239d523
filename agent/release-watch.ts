import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Floors } from '../lib/protocol/release.ts';

/** What became of the release that this pilot runs: `withdrawn`, it ends after its payload; `killed`, at once. */
export type Standing = 'in force' | 'withdrawn' | 'killed';

/** What the release managers say now of the running release, with where it was asked. */
export interface Answer {
  mineYanked: boolean;
  mineKilled: boolean;
  channelSerial: number;
  cache: string;
}

/** Asks the code store. Throws when no cache gives a valid answer. */
export type AskStore = (options: { floors: Floors | null; signal: AbortSignal }) => Promise<Answer>;

/** Between two payloads the store is asked when it was not for so long, and is waited for no longer than that. */
const OLD_SECONDS = 60;
const WAIT_SECONDS = 15;
/** No question to the store takes longer. */
const DEADLINE_SECONDS = 120;

/**
 * Knows whether the release that runs was revoked: asks the code store every now and then and between payloads, and hears
 * it from the server. A store that cannot be asked ends nothing: the server refuses what is revoked all the same.
 */
export class ReleaseWatch {
  readonly #ask: AskStore | null;
  readonly #floors: () => Floors | null;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #withdrawn = new AbortController();
  readonly #killed = new AbortController();
  readonly #closed = new AbortController();
  #askedAt: number;
  #asking: Promise<void> | undefined;

  /** @param options.ask null where nothing can be asked: only the server's word counts then. */
  constructor(options: { ask: AskStore | null; floors: () => Floors | null; clock: Clock; log: Logger }) {
    this.#ask = options.ask;
    this.#floors = options.floors;
    this.#clock = options.clock;
    this.#log = options.log;
    // The wrapper verified the release a moment ago.
    this.#askedAt = options.clock.monotonic();
  }

  get standing(): Standing {
    if (this.#killed.signal.aborted) return 'killed';
    return this.#withdrawn.signal.aborted ? 'withdrawn' : 'in force';
  }

  /** Aborted when this pilot is to take no more jobs; killed or not. */
  get withdrawn(): AbortSignal {
    return this.#withdrawn.signal;
  }

  /** Aborted, with the reason as text, when its payload is to end at once. */
  get killed(): AbortSignal {
    return this.#killed.signal;
  }

  /** Takes the word of store or server. A revocation is never taken back: the pilot ends. */
  note(standing: Exclude<Standing, 'in force'>, because: string): void {
    if (standing === 'killed') {
      if (!this.#killed.signal.aborted) this.#log.error({ because }, 'the release of this pilot was killed');
      this.#killed.abort(because);
    } else if (this.standing === 'in force') {
      this.#log.warn({ because }, 'the release of this pilot was withdrawn: it takes no more jobs');
    }
    this.#withdrawn.abort(because);
  }

  /** For the time between two payloads: asks if the last answer is old, and waits a little for it. */
  async lookBetweenPayloads(): Promise<void> {
    if (this.#clock.monotonic() - this.#askedAt < OLD_SECONDS * 1000) return;
    const done = new AbortController();
    const waited = this.#clock.sleep(WAIT_SECONDS * 1000, done.signal).catch(() => undefined);
    await Promise.race([this.look(), waited]);
    done.abort();
  }

  /** Asks now, or joins the question that is on its way. Never throws: what went wrong is logged. */
  look(): Promise<void> {
    if (this.#ask === null || this.standing === 'killed' || this.#closed.signal.aborted) {
      return Promise.resolve();
    }
    this.#asking ??= this.#look(this.#ask).finally(() => (this.#asking = undefined));
    return this.#asking;
  }

  async #look(ask: AskStore): Promise<void> {
    const signal = AbortSignal.any([this.#closed.signal, AbortSignal.timeout(DEADLINE_SECONDS * 1000)]);
    const started = this.#clock.monotonic();
    try {
      const { mineYanked, mineKilled, ...answer } = await ask({ floors: this.#floors(), signal });
      const ms = Math.round(this.#clock.monotonic() - started);
      this.#log.info({ ...answer, mineYanked, mineKilled, ms }, 'asked the code store about this release');
      const because = `serial ${answer.channelSerial} of its channel says so`;
      if (mineKilled) this.note('killed', because);
      else if (mineYanked) this.note('withdrawn', because);
    } catch (error) {
      if (this.#closed.signal.aborted) return;
      this.#log.warn({ err: error }, 'the code store could not be asked about this release');
    } finally {
      this.#askedAt = this.#clock.monotonic();
    }
  }

  /** Gives up what is being asked. */
  async close(): Promise<void> {
    this.#closed.abort(new DOMException('the pilot ends', 'AbortError'));
    await this.#asking;
  }
}
