import type { HeldBody } from '../objects/body-source.ts';
import type { AnswerHead } from './answer-head.ts';

/**
 * A whole answer in memory that may be sent as a hit without asking anyone, until it is stale or no longer held. The
 * front calls `held.touch` about once a second while it is in use.
 */
export interface HotAnswer {
  readonly head: AnswerHead;
  readonly held: HeldBody;
}

/** Bounds the table whatever spellings of targets clients find. */
const MAX_TARGETS = 16_384;

/**
 * What the raw socket may answer by itself, by request target as the client spells it. The slow path puts an answer here
 * after it has served it as a hit from memory; the table only remembers, the tiers decide ({@link HeldBody}).
 */
export class HotAnswers {
  readonly #byTarget = new Map<string, HotAnswer>();

  /** @returns undefined when the slow path must decide. */
  get(target: string, nowMs: number): HotAnswer | undefined {
    const hot = this.#byTarget.get(target);
    if (hot === undefined) return undefined;
    if (nowMs < hot.head.freshUntilMs && hot.held.valid()) return hot;
    this.#byTarget.delete(target);
    return undefined;
  }

  put(target: string, hot: HotAnswer): void {
    if (this.#byTarget.size >= MAX_TARGETS) this.#byTarget.clear();
    this.#byTarget.set(target, hot);
  }
}
