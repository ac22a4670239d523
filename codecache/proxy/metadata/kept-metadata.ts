import { objectName } from '../../http/object-name.ts';
import type { ObjectName } from '../../http/object-name.ts';
import type { Upstreams } from '../upstreams/upstreams.ts';
import type { AnswerStore } from './answer-store.ts';
import type { Answer } from './answer.ts';
import { SignedNames } from './signed-names.ts';

/** Every refresh begins with it. */
export const TIMESTAMP = 'metadata/timestamp.json';

/** Whom a request is answered from, and under which name its answers are kept. */
export interface View {
  /** Empty for all upstreams together, else the origin that the request names. */
  readonly id: string;
  readonly upstreams: Upstreams;
}

/**
 * What is kept of the metadata of one view, each file held against what the one above it says: when it comes, and again
 * when that becomes known or changes. What turns out to be another file is dropped, and its upstream is blamed if it said so
 * itself.
 */
export class KeptMetadata {
  readonly names = new SignedNames();
  readonly #view: View;
  readonly #store: AnswerStore;
  readonly #changed: () => void;

  /** @param changed is told when other signed metadata than before is kept. */
  constructor(view: View, store: AnswerStore, changed: () => void) {
    this.#view = view;
    this.#store = store;
    this.#changed = changed;
  }

  keyOf({ path }: ObjectName): string {
    return `${this.#view.id}/${path}`;
  }

  /** The timestamp, as this process holds it. */
  get timestamp(): Answer | undefined {
    return this.#store.peek(this.keyOf(objectName(TIMESTAMP)));
  }

  /** Reads what an earlier run kept, so that files can be checked from the first request on. */
  async recall(): Promise<void> {
    const name = objectName(TIMESTAMP);
    await this.find(name, this.keyOf(name));
  }

  /** What is kept under a key, by whichever process; undefined for what does not stand. */
  async find(name: ObjectName, key: string): Promise<Answer | undefined> {
    const held = this.#store.get(key);
    const found = await this.#store.find(key);
    if (found === undefined || found === held) return found;
    if (!(await this.#stands(name, found))) return undefined;
    if (await this.learn(name, found)) this.#changed();
    return found;
  }

  async keep(name: ObjectName, answer: Answer): Promise<void> {
    const before = this.#store.peek(answer.key)?.sha256;
    const named = await this.learn(name, answer);
    // That there is no newer root is needed after a start without upstreams too.
    await this.#store.put(answer, answer.status === 200 || this.names.expects(name));
    if (named || (name.kind === 'versioned' && answer.sha256 !== before)) this.#changed();
  }

  /**
   * Takes in what a file says of others, and holds it against those of them that were kept before.
   *
   * @returns whether it says anything new; of a timestamp, whether it leads to another snapshot than the last one.
   */
  async learn(name: ObjectName, answer: Answer): Promise<boolean> {
    if (answer.status !== 200) {
      this.names.learnMissing(name);
      return false;
    }
    const before = this.names.timestamp?.snapshot;
    const named = this.names.learn(name, answer);
    for (const path of named) {
      const below = objectName(path);
      const kept = await this.#store.find(this.keyOf(below));
      if (kept !== undefined && (await this.#stands(below, kept))) await this.learn(below, kept);
    }
    return name.kind === 'timestamp' ? this.names.timestamp?.snapshot !== before : named.length > 0;
  }

  /** An answer of an upstream that is not asked any more goes with it: it may have been taken out for what it sent. */
  async #stands(name: ObjectName, answer: Answer): Promise<boolean> {
    const { upstreams } = this.#view;
    const from = [...upstreams.order()].find(({ url }) => url === answer.upstream);
    const verdict = answer.status === 200 ? this.names.judge(name, answer) : 'unknown';
    if (from !== undefined && typeof verdict === 'string') return true;
    await this.#store.drop(answer.key);
    if (from !== undefined && typeof verdict === 'object') upstreams.misnamed(from, name.path, verdict);
    return false;
  }
}
