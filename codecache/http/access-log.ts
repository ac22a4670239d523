import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { fromSystemError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { printable } from './observe-answer.ts';
import type { Answered } from './observe-answer.ts';

/** A batch is written when it has become this long, or after this time. */
const BATCH_BYTES = 1 << 16;
const BATCH_MS = 1000;
/** Lines that wait for a slow disk; more are lost. */
const MAX_WAITING_BYTES = 16 << 20;
/** Addresses of nodes are for the group at most. */
const MODE = 0o640;

export interface AccessLog {
  write(answered: Answered): void;
  /** Goes on in a new file under the same name, after a rotation. */
  reopen(): Promise<void>;
  /** Lines that could not be written. */
  readonly lost: number;
  /** Writes what waits. */
  close(): Promise<void>;
}

/**
 * One JSON line for each answer: time, remote, method, path, status, bytes, ms, agent, range, what a cache said of it;
 * `cut: true` where the connection ended first. What a client sent is bounded and escaped. A line that cannot be written
 * is lost and counted, and the program's log says so; no client waits for it.
 *
 * @param file appended to, by several processes if need be; `-` for the program's own log.
 * @throws E_PERMISSION, E_FILE_MISSING naming the file.
 */
export async function openAccessLog(file: string, log: Logger): Promise<AccessLog> {
  if (file === '-') {
    return {
      lost: 0,
      write: answered => log.info(JSON.parse(`{${fields(answered)}}`) as object, 'answered'),
      reopen: async () => undefined,
      close: async () => undefined,
    };
  }
  return new AccessFile(file, await openLog(file), log);
}

const openLog = async (file: string): Promise<FileHandle> => {
  try {
    return await open(file, 'a', MODE);
  } catch (error) {
    throw fromSystemError(error, file);
  }
};

/**
 * Each batch is one append of whole lines, which the system keeps apart from those of other processes; one is under way
 * at a time.
 */
class AccessFile implements AccessLog {
  readonly #name: string;
  readonly #log: Logger;
  #file: FileHandle;
  #waiting = '';
  #lines = 0;
  #lost = 0;
  #failing = false;
  /** A line was written in part: the next one begins a new line. */
  #torn = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #busy = false;

  constructor(name: string, file: FileHandle, log: Logger) {
    this.#name = name;
    this.#file = file;
    this.#log = log;
  }

  get lost(): number {
    return this.#lost;
  }

  write(answered: Answered): void {
    if (this.#waiting.length > MAX_WAITING_BYTES)
      return this.#lose(1, 'lines come faster than the disk takes them');
    this.#waiting += `{"time":"${isoNow()}",${fields(answered)}}\n`;
    this.#lines += 1;
    if (this.#waiting.length >= BATCH_BYTES && !this.#busy) void this.#flush();
    else this.#timer ??= setTimeout(() => void this.#flush(), BATCH_MS).unref();
  }

  async reopen(): Promise<void> {
    await this.#flush();
    let file: FileHandle;
    try {
      file = await openLog(this.#name);
    } catch (error) {
      this.#log.error(
        { err: error, file: this.#name },
        'the access log cannot be opened again; it goes on in the old file',
      );
      return;
    }
    const before = this.#file;
    this.#file = file;
    // A batch that is under way goes to the file it began in.
    await this.#writing;
    await before.close();
  }

  async close(): Promise<void> {
    await this.#flush();
    await this.#file.close();
  }

  /** Resolves when all lines of now are written or lost. */
  #flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#writing = this.#writing.then(() => this.#append());
    return this.#writing;
  }

  async #append(): Promise<void> {
    if (this.#lines === 0) return;
    const batch = Buffer.from(this.#torn ? `\n${this.#waiting}` : this.#waiting, 'latin1');
    const lines = this.#lines;
    this.#waiting = '';
    this.#lines = 0;
    this.#busy = true;
    const file = this.#file;
    let written = 0;
    try {
      while (written < batch.length) {
        written += (await file.write(batch, written, batch.length - written)).bytesWritten;
      }
      this.#torn = false;
      if (this.#failing) this.#log.info({ file: this.#name }, 'the access log is written again');
      this.#failing = false;
    } catch (error) {
      if (written > 0) this.#torn = batch[written - 1] !== NEWLINE;
      this.#lose(lines - countLines(batch.subarray(0, written)), error);
    }
    this.#busy = false;
  }

  #lose(lines: number, reason: unknown): void {
    this.#lost += lines;
    if (this.#failing) return;
    this.#failing = true;
    this.#log.error({ err: reason, file: this.#name }, 'the access log cannot be written: lines are lost');
  }
}

const NEWLINE = 10;

function countLines(bytes: Buffer): number {
  let lines = 0;
  for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, at + 1)) lines += 1;
  return lines;
}

/** The fields of one answer as JSON members; texts of clients that need no escape, nearly all, are taken as they are. */
function fields(answered: Answered): string {
  const { status, bytes, userAgent, range, cache, complete } = answered;
  let line = `"remote":${quoted(answered.remote, 64)},"method":${quoted(answered.method, 16)},"path":${quoted(answered.target, 512)},"status":${status},"bytes":${bytes},"ms":${Math.round(answered.milliseconds * 10) / 10}`;
  if (userAgent !== undefined) line += `,"agent":${quoted(userAgent, 200)}`;
  if (range !== undefined) line += `,"range":${quoted(range, 64)}`;
  if (cache !== undefined) line += `,"cache":"${cache}"`;
  return complete ? line : `${line},"cut":true`;
}

const UNSAFE = /[^\x20-\x7e]|["\\]/;

const quoted = (text: string, maxLength: number): string =>
  text.length <= maxLength && !UNSAFE.test(text) ? `"${text}"` : JSON.stringify(printable(text, maxLength));

let second = 0;
let prefix = '';

/** As Date.toISOString, whose cost is more than that of all else in a line; within a second only its last digits change. */
function isoNow(): string {
  const now = Date.now();
  const milliseconds = now % 1000;
  if (now - milliseconds !== second) {
    second = now - milliseconds;
    prefix = new Date(second).toISOString().slice(0, -4);
  }
  return `${prefix}${milliseconds < 10 ? '00' : milliseconds < 100 ? '0' : ''}${milliseconds}Z`;
}
