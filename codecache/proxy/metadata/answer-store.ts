import { unwatchFile, watchFile } from 'node:fs';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { PilotageError, fromSystemError } from '../../../lib/errors.ts';
import { writeFileAtomic } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import { AnswerDisk } from './answer-disk.ts';
import type { Answer } from './answer.ts';

const MAX_ANSWERS = 16_384;
/** 404s and 410s, kept apart: whatever clients ask for, they push out no answer that has a body. */
const MAX_MISSING = 4096;
const MAX_MISSING_BYTES = 16 << 20;
const DISK_BYTES = 128 << 20;
/** Its time of change tells all processes that the answers were purged. */
const PURGED = 'answers/purged';
const PURGE_POLL_MS = 500;

/** Metadata answers by key: memory of one process, least recently used out first, over the disk that processes share. */
export class AnswerStore {
  readonly #kept: LRUCache<string, Answer>;
  readonly #missing = new LRUCache<string, Answer>({
    max: MAX_MISSING,
    maxSize: MAX_MISSING_BYTES,
    sizeCalculation: sizeOf,
  });
  readonly #disk: AnswerDisk;
  readonly #marker: string;
  readonly #purged = () => {
    this.#kept.clear();
    this.#missing.clear();
  };

  constructor({ directory, maxBytes, log }: { directory: string; maxBytes: number; log: Logger }) {
    this.#disk = new AnswerDisk({ directory, maxBytes: DISK_BYTES, maxAnswers: MAX_ANSWERS, log });
    this.#marker = join(directory, PURGED);
    this.#kept = new LRUCache<string, Answer>({
      max: MAX_ANSWERS,
      maxSize: maxBytes,
      sizeCalculation: sizeOf,
    });
  }

  /** @throws E_PERMISSION and the like when the directory cannot be made. */
  async open(): Promise<void> {
    await this.#disk.open();
    watchFile(this.#marker, { interval: PURGE_POLL_MS, persistent: false }, this.#purged);
  }

  close(): void {
    unwatchFile(this.#marker, this.#purged);
  }

  get(key: string): Answer | undefined {
    return this.#kept.get(key) ?? this.#missing.get(key);
  }

  /** As {@link get}, without counting as a use. */
  peek(key: string): Answer | undefined {
    return this.#kept.peek(key) ?? this.#missing.peek(key);
  }

  /** As {@link get}, then what another process or an earlier run kept, where that is younger. */
  async find(key: string): Promise<Answer | undefined> {
    const held = this.get(key);
    const written = await this.#disk.read(key);
    if (written === undefined || (held !== undefined && held.freshness.bornMs >= written.freshness.bornMs))
      return held;
    this.#hold(written);
    return written;
  }

  /** Keeps an answer, with `durable` on disk too. */
  async put(answer: Answer, durable: boolean): Promise<void> {
    this.#hold(answer);
    if (durable) await this.#disk.write(answer);
    else await this.#disk.remove(answer.key);
  }

  async drop(key: string): Promise<void> {
    this.#kept.delete(key);
    this.#missing.delete(key);
    await this.#disk.remove(key);
  }

  get size(): { answers: number; bytes: number } {
    return {
      answers: this.#kept.size + this.#missing.size,
      bytes: this.#kept.calculatedSize + this.#missing.calculatedSize,
    };
  }

  #hold(answer: Answer): void {
    const [tier, other] = answer.status === 200 ? [this.#kept, this.#missing] : [this.#missing, this.#kept];
    other.delete(answer.key);
    tier.set(answer.key, answer);
  }
}

const sizeOf = ({ body, key }: Answer): number => body.length + key.length + 1024;

/**
 * Removes all metadata answers below a cache's directory. The processes that use it let go of theirs within a second,
 * whoever calls this.
 *
 * @returns how many were on disk. @throws E_FILE_MISSING where no cache was, E_PERMISSION and the like.
 */
export async function purgeAnswers(directory: string): Promise<number> {
  const answers = join(directory, 'answers');
  try {
    const names = (await readdir(answers)).filter(name => /^[0-9a-f]{64}$/.test(name));
    for (const name of names) await rm(join(answers, name), { force: true });
    await writeFileAtomic(join(directory, PURGED), `${new Date().toISOString()}\n`);
    return names.length;
  } catch (error) {
    throw error instanceof PilotageError ? error : fromSystemError(error, answers);
  }
}
