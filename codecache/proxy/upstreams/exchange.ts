import type { Dispatcher } from 'undici';
import type { Clock } from '../../../lib/clock.ts';
import type { FailedHow, Turn } from './upstream-health.ts';
import { retryAfterMs } from './upstream-failure.ts';
import type { Upstream } from './upstream.ts';

/** An upstream under probe is back when its answer is whole, or so much of it came, or it still flows after so long. */
const ALIVE_BYTES = 1 << 18;
const ALIVE_MS = 1000;

/** Interim answers (1xx) to one request: each begins the wait for the real one anew. */
const MAX_INTERIM = 4;

/** Statuses by which an upstream says that it has too much to do. */
const BUSY = new Set([408, 429, 503]);

/**
 * One request to one upstream as the connection sees it, from which its health is judged: whoever reads the body may be
 * slow, let go of it or fail by itself, and none of that is the upstream's doing.
 */
export class Exchange {
  readonly #upstream: Upstream;
  readonly #turn: Turn;
  readonly #clock: Clock;
  #answeringSinceMs: number | undefined;
  #interim = 0;
  #bytes = 0;
  #passed = false;
  #over = false;

  constructor(upstream: Upstream, turn: Turn, clock: Clock) {
    this.#upstream = upstream;
    this.#turn = turn;
    this.#clock = clock;
  }

  /** Has a response header arrived? */
  get answering(): boolean {
    return this.#answeringSinceMs !== undefined;
  }

  /** Ends the turn and makes room for the next request; only the first time counts. */
  end(outcome: 'worked' | 'failed' | 'abandoned', how?: FailedHow): void {
    if (this.#over) return;
    this.#over = true;
    if (outcome === 'failed') this.#upstream.health.failed(this.#turn, how);
    else this.#upstream.health[outcome](this.#turn);
    this.#upstream.gate.leave();
  }

  /** Wraps what undici tells of the response. @param mayRepeat whether an error now is to be left to a second attempt. */
  watch(next: Dispatcher.DispatchHandler, mayRepeat: (error: Error) => boolean): Dispatcher.DispatchHandler {
    return {
      onRequestStart: (controller, context) => next.onRequestStart?.(controller, context),
      onResponseStart: (controller, status, headers, message) => {
        if (status >= 200) this.#started(status, headers);
        else if ((this.#interim += 1) > MAX_INTERIM) {
          controller.abort(new Error('interim answers without end'));
          return;
        }
        next.onResponseStart?.(controller, status, headers, message);
      },
      onResponseData: (controller, chunk) => {
        this.#flowed(chunk.length);
        next.onResponseData?.(controller, chunk);
      },
      onResponseEnd: (controller, trailers) => {
        this.end('worked');
        next.onResponseEnd?.(controller, trailers);
      },
      onResponseError: (controller, error) => {
        const letGo = (controller as Dispatcher.DispatchController | null)?.aborted === true;
        // Before there is anything to let go of, only a deadline gives it up.
        if (letGo && this.answering) this.end('abandoned');
        else if (!mayRepeat(error)) this.end('failed');
        next.onResponseError?.(controller, error);
      },
    };
  }

  #started(status: number, headers: Record<string, string | string[] | undefined>): void {
    this.#answeringSinceMs = this.#clock.monotonic();
    if (BUSY.has(status)) {
      const { 'retry-after': after, date } = headers;
      this.end('failed', { retryAfterMs: retryAfterMs(String(after), String(date), this.#clock.now()) });
    } else if (status >= 500 && !(status === 504 && this.#upstream.sibling)) {
      this.end('failed', { answered: true });
    }
  }

  #flowed(bytes: number): void {
    this.#upstream.counted.bytes += bytes;
    this.#bytes += bytes;
    if (this.#passed || this.#over) return;
    const flowing = this.#clock.monotonic() - this.#answeringSinceMs! >= ALIVE_MS;
    if (this.#bytes < ALIVE_BYTES && !flowing) return;
    this.#passed = true;
    this.#upstream.health.worked(this.#turn);
  }
}
