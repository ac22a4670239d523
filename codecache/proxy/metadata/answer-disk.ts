import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { PilotageError } from '../../../lib/errors.ts';
import { ensureDirectory, readFileBounded, writeFileAtomic } from '../../../lib/files.ts';
import type { Logger } from '../../../lib/log.ts';
import { sha256Of } from './answer.ts';
import type { Answer } from './answer.ts';

const MAX_FILE_BYTES = 16 << 20;
/** Share of the bounds that is written from one look at the directory to the next. */
const SWEEP_EVERY = 1 / 16;
/** A temporary file that is older was left by a process that was killed. */
const ABANDONED_MS = 600_000;

const text = z.string().max(4096);
const Head = z.object({
  key: text,
  status: z.literal([200, 404, 410]),
  contentType: text,
  cacheControl: text,
  etag: text.optional(),
  lastModified: text.optional(),
  vary: text.optional(),
  upstream: text,
  fields: z.record(z.string(), text),
  freshness: z.object({
    storable: z.boolean(),
    bornMs: z.number(),
    freshUntilMs: z.number(),
    usableUntilMs: z.number(),
  }),
});

export interface AnswerDiskOptions {
  /** Of the cache; answers are in `answers` below it. */
  directory: string;
  maxBytes: number;
  maxAnswers: number;
  log: Logger;
}

/**
 * Answers in `DIR/answers`, one file each, shared by the processes of one cache: a line with the sha256 of all that
 * follows, a line of JSON, the body. Bounded by removing the longest unwritten. Nothing here throws: a full disk costs
 * the next start a fetch, nothing else.
 */
export class AnswerDisk {
  readonly #options: AnswerDiskOptions;
  readonly #directory: string;
  #unswept = 0;
  #failing = false;

  constructor(options: AnswerDiskOptions) {
    this.#options = options;
    this.#directory = join(options.directory, 'answers');
  }

  /** @throws E_PERMISSION and the like when the directory cannot be made. */
  async open(): Promise<void> {
    await ensureDirectory(this.#directory);
    await this.#sweep();
  }

  /** Undefined when it is not there or cannot be read; a damaged file is removed and named in the log. */
  async read(key: string): Promise<Answer | undefined> {
    const file = this.#file(key);
    let bytes: Buffer;
    try {
      bytes = await readFileBounded(file, MAX_FILE_BYTES);
    } catch (error) {
      // It stays, for nothing says that it is damaged: the process may have too many files open.
      if (!(error instanceof PilotageError && error.code === 'E_FILE_MISSING'))
        this.#options.log.warn({ file, name: key, err: error }, 'a stored answer cannot be read');
      return undefined;
    }
    try {
      const answer = decode(bytes);
      if (answer.key !== key) throw new Error('it is the answer of another name');
      return answer;
    } catch (error) {
      this.#options.log.warn({ file, name: key, err: error }, 'stored answer is damaged and was removed');
      await this.remove(key);
      return undefined;
    }
  }

  async write(answer: Answer): Promise<void> {
    const bytes = encode(answer);
    try {
      await writeFileAtomic(this.#file(answer.key), bytes);
      this.#failing = false;
    } catch (error) {
      // Once for as long as it goes on: a full disk is no news at each answer.
      if (!this.#failing)
        this.#options.log.warn({ name: answer.key, err: error }, 'answers cannot be written to disk');
      this.#failing = true;
    }
    this.#unswept += 1 / this.#options.maxAnswers + bytes.length / this.#options.maxBytes;
    if (this.#unswept > SWEEP_EVERY) await this.#sweep();
  }

  async remove(key: string): Promise<void> {
    await rm(this.#file(key), { force: true }).catch(() => undefined);
  }

  /** Counts what is there, also of other processes, and makes room below four fifths of the bounds. */
  async #sweep(): Promise<void> {
    const { maxBytes, maxAnswers, log } = this.#options;
    this.#unswept = 0;
    const found: { file: string; bytes: number; writtenMs: number }[] = [];
    try {
      for (const name of await readdir(this.#directory)) {
        const file = join(this.#directory, name);
        const info = await stat(file).catch(() => undefined);
        if (info === undefined) continue;
        if (/^[0-9a-f]{64}$/.test(name)) found.push({ file, bytes: info.size, writtenMs: info.mtimeMs });
        else if (name.endsWith('.tmp') && info.mtimeMs < Date.now() - ABANDONED_MS)
          await rm(file, { force: true });
      }
      let bytes = found.reduce((sum, each) => sum + each.bytes, 0);
      let left = found.length;
      if (bytes <= maxBytes && left <= maxAnswers) return;
      for (const each of found.sort((a, b) => a.writtenMs - b.writtenMs)) {
        if (bytes <= maxBytes * 0.8 && left <= maxAnswers * 0.8) break;
        await rm(each.file, { force: true });
        bytes -= each.bytes;
        left -= 1;
      }
    } catch (error) {
      log.warn({ directory: this.#directory, err: error }, 'room for answers cannot be made on disk');
    }
  }

  #file(key: string): string {
    return join(this.#directory, sha256Of(key));
  }
}

function encode(answer: Answer): Buffer {
  const { body, sha256: _sha256, ...head } = answer;
  const rest = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), body]);
  return Buffer.concat([Buffer.from(`${sha256Of(rest)}\n`), rest]);
}

function decode(bytes: Buffer): Answer {
  const rest = bytes.subarray(65);
  if (bytes.subarray(0, 65).toString('latin1') !== `${sha256Of(rest)}\n`)
    throw new Error('it does not fit its hash');
  const end = rest.indexOf(10);
  const head = Head.parse(JSON.parse(rest.subarray(0, end).toString('utf8')));
  const body = rest.subarray(end + 1);
  const { etag, lastModified, vary } = head;
  return { ...head, etag, lastModified, vary, body, sha256: sha256Of(body) };
}
