import { createHash } from 'node:crypto';
import { readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import type CachePolicy from 'http-cache-semantics';
import { ensureDirectory, writeFileAtomic } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import type { Freshness, FreshnessRules } from './freshness.ts';

/** One stored answer for metadata: small, so it is held in memory and kept on disk for the next start. */
export interface Answer {
  /** View and path: `/metadata/…`, or an origin's URL before it. */
  key: string;
  status: number;
  contentType: string;
  cacheControl: string;
  etag: string | undefined;
  body: Buffer;
  freshness: Freshness;
  upstream: string;
}

interface StoredHead {
  key: string;
  status: number;
  contentType: string;
  cacheControl: string;
  etag?: string;
  upstream: string;
  sha256: string;
  policy: CachePolicy.CachePolicyObject;
}

/** Metadata answers by key: memory over `DIR/answers`, least recently used out first by bytes. */
export class AnswerStore {
  readonly #directory: string;
  readonly #rules: FreshnessRules;
  readonly #log: Logger;
  readonly #memory: LRUCache<string, Answer>;

  constructor(options: { directory: string; maxBytes: number; rules: FreshnessRules; log: Logger }) {
    this.#directory = join(options.directory, 'answers');
    this.#rules = options.rules;
    this.#log = options.log;
    this.#memory = new LRUCache<string, Answer>({
      maxSize: options.maxBytes,
      sizeCalculation: answer => answer.body.length + answer.key.length + 512,
      dispose: (_answer, key, reason) => {
        if (reason === 'evict') void rm(this.#file(key), { force: true }).catch(() => undefined);
      },
    });
  }

  /** Reads what an earlier run kept; damaged files are removed. */
  async load(): Promise<void> {
    await ensureDirectory(this.#directory);
    for (const name of await readdir(this.#directory)) {
      const file = join(this.#directory, name);
      try {
        const answer = this.#decode(await readFile(file));
        this.#memory.set(answer.key, answer);
      } catch (error) {
        this.#log.warn({ file, err: error }, 'stored answer is damaged and was removed');
        await rm(file, { force: true });
      }
    }
  }

  get(key: string): Answer | undefined {
    return this.#memory.get(key);
  }

  /** As {@link get}, without counting as a use. */
  peek(key: string): Answer | undefined {
    return this.#memory.peek(key);
  }

  /** Keeps an answer; 404s in memory only. Failure to write costs the next start a fetch, nothing else. */
  async put(answer: Answer): Promise<void> {
    this.#memory.set(answer.key, answer);
    if (answer.status !== 200) return;
    const head: StoredHead = {
      key: answer.key,
      status: answer.status,
      contentType: answer.contentType,
      cacheControl: answer.cacheControl,
      ...(answer.etag !== undefined && { etag: answer.etag }),
      upstream: answer.upstream,
      sha256: hash(answer.body),
      policy: answer.freshness.toJson(),
    };
    try {
      await writeFileAtomic(
        this.#file(answer.key),
        Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), answer.body]),
      );
    } catch (error) {
      this.#log.warn({ key: answer.key, err: error }, 'answer could not be written to disk');
    }
  }

  get size(): { answers: number; bytes: number } {
    return { answers: this.#memory.size, bytes: this.#memory.calculatedSize };
  }

  #file(key: string): string {
    return join(this.#directory, hash(Buffer.from(key)));
  }

  #decode(bytes: Buffer): Answer {
    const end = bytes.indexOf(10);
    const head = JSON.parse(bytes.subarray(0, end).toString('utf8')) as StoredHead;
    const body = bytes.subarray(end + 1);
    if (hash(body) !== head.sha256) throw new Error('the body does not fit its hash');
    const { key, status, contentType, cacheControl, etag, upstream, policy } = head;
    return {
      key,
      status,
      contentType,
      cacheControl,
      etag,
      upstream,
      body,
      freshness: this.#rules.restore(policy),
    };
  }
}

const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
