import type { BodyFile } from '../objects/body-file.ts';
import type { HeldBody } from '../objects/body-source.ts';
import { rawHead } from './answer-head.ts';
import type { AnswerHead, ServedBy } from './answer-head.ts';

const MAX_TARGETS = 16_384;
/** Bodies are looked through for those that no tier holds any more after so many bytes of new ones. */
const SWEEP_BYTES = 16 << 20;
/** Up to here header and body are one piece of memory: one write costs less than copying so much once a second. */
const ONE_PIECE_BYTES = 1 << 16;

/**
 * A whole answer in memory that may be sent as a hit without asking anyone, until it is stale or no longer held. Its
 * bytes are made anew once a second, as Date, Age and ttl go on; the tier that holds the body is told then, too.
 */
export class HotAnswer {
  readonly head: AnswerHead;
  readonly held: HeldBody;
  /** Bytes of the header, and of the body when it is short. */
  first: Buffer = Buffer.alloc(0);
  /** The body when it is long, to be written after {@link first} without copying. */
  rest: Buffer | undefined;
  /** {@link rest} once more, where the system can send it by itself. */
  file: BodyFile | undefined;
  #second = -1;

  constructor(head: AnswerHead, held: HeldBody) {
    this.head = head;
    this.held = held;
  }

  renew(nowMs: number, servedBy: ServedBy): void {
    const second = Math.floor(nowMs / 1000);
    if (second === this.#second) return;
    this.#second = second;
    this.held.touch();
    const { body } = this.held;
    const head = Buffer.from(rawHead(this.head, nowMs, servedBy), 'latin1');
    const short = body.length <= ONE_PIECE_BYTES;
    this.first = short ? Buffer.concat([head, body]) : head;
    this.rest = short ? undefined : body;
    this.file = short ? undefined : this.held.file;
  }
}

/**
 * What the raw socket may answer by itself, by request target. The slow path puts an answer here after it has served it as
 * a hit from memory; the table only remembers, the tiers decide ({@link HeldBody}), and it keeps few of the bodies that
 * they let go.
 */
export class HotAnswers {
  readonly #byTarget = new Map<string, HotAnswer>();
  readonly #servedBy: ServedBy;
  #newBytes = 0;

  constructor(servedBy: ServedBy) {
    this.#servedBy = servedBy;
  }

  /** @returns undefined when the slow path must decide, else bytes that may be sent now. */
  get(target: string, nowMs: number): HotAnswer | undefined {
    const hot = this.#byTarget.get(target);
    if (hot === undefined) return undefined;
    if (nowMs < hot.head.freshUntilMs && hot.held.valid()) {
      hot.renew(nowMs, this.#servedBy);
      return hot;
    }
    this.#byTarget.delete(target);
    return undefined;
  }

  /** @param target in its one canonical spelling: a client that finds other spellings must not fill the table. */
  put(target: string, head: AnswerHead, held: HeldBody): void {
    if (this.#byTarget.get(target)?.held === held) return;
    this.#newBytes += held.body.length;
    if (this.#newBytes > SWEEP_BYTES || this.#byTarget.size >= MAX_TARGETS) this.#sweep();
    this.#byTarget.set(target, new HotAnswer(head, held));
  }

  get size(): number {
    return this.#byTarget.size;
  }

  #sweep(): void {
    this.#newBytes = 0;
    for (const [target, { held }] of this.#byTarget) if (!held.valid()) this.#byTarget.delete(target);
    if (this.#byTarget.size >= MAX_TARGETS) this.#byTarget.clear();
  }
}
