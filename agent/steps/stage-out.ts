import { constants } from 'node:fs';
import { lstat, open, mkdir, realpath, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { basename, dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import PQueue from 'p-queue';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../lib/clock.ts';
import { syncDirectory } from '../../lib/files.ts';
import type { Logger } from '../../lib/log.ts';
import { fileName } from '../../lib/protocol/words.ts';
import type { JobDefinition, StoredOutput } from '../../lib/protocol/job.ts';
import { agentError } from '../errors.ts';
import { describe } from '../open-source.ts';
import { TransientTransferError, copyHashed, hashThrough, retryTransfer } from '../transfer.ts';
import type { Copied } from '../transfer.ts';

export interface StageOutOptions {
  outputs: JobDefinition['outputs'];
  outputUrl: string | undefined;
  jobId: string;
  attemptId: string;
  attemptNumber: number;
  workDirectory: string;
  /** Of all outputs together; a file with holes is far larger when it is stored than on this disk. */
  maxBytes: number;
  concurrency: number;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  clock: Clock;
  log: Logger;
}

/**
 * Stores the declared outputs under names that only this attempt uses:
 * `<outputUrl>/<jobId>/<attemptNumber>-<attemptId>/<name>`, so that two attempts of a job never overwrite each other.
 *
 * @throws E_OUTPUT_MISSING naming every declared output that was not made, and E_WORK_DISK_EXCEEDED, before
 *   anything is stored; E_STAGE_OUT_FAILED.
 */
export async function stageOut(options: StageOutOptions): Promise<StoredOutput[]> {
  const found: { name: string; path: string }[] = [];
  const missing: string[] = [];
  for (const output of options.outputs) {
    const path = await findOutput(options.workDirectory, output.name);
    if (path !== undefined) found.push({ name: output.name, path });
    else if (!output.optional) missing.push(output.name);
  }
  if (missing.length > 0) {
    throw agentError({
      code: 'E_OUTPUT_MISSING',
      message: `The payload did not make ${missing.map(name => `"${name}"`).join(', ')}`,
      expected: 'a regular file inside the work directory',
      fix: 'Check the names in outputs.',
    });
  }
  if (found.length === 0) return [];
  const sizes = await Promise.all(found.map(async ({ path }) => (await lstat(path)).size));
  const sum = sizes.reduce((total, size) => total + size, 0);
  if (sum > options.maxBytes) {
    throw agentError({
      code: 'E_WORK_DISK_EXCEEDED',
      message: 'The outputs are larger than limits.diskBytes',
      expected: `at most ${options.maxBytes} bytes`,
      found: `${sum} bytes`,
      fix: 'Make smaller outputs, or raise the limit of the job.',
    });
  }
  const queue = new PQueue({ concurrency: options.concurrency });
  const abort = new AbortController();
  const signal = AbortSignal.any([options.signal, abort.signal]);
  const stored = found.map(output =>
    queue
      .add(() => storeOne(output, { ...options, signal }))
      .catch((error: unknown) => {
        abort.abort(error);
        throw error;
      }),
  );
  const results = await Promise.allSettled(stored);
  options.signal.throwIfAborted();
  if (abort.signal.aborted) throw abort.signal.reason;
  return results.map(result => (result as PromiseFulfilledResult<StoredOutput>).value);
}

/**
 * The real path of an output, or undefined when there is no such regular file inside the work directory: a link that
 * leads out of it is no output.
 */
export async function findOutput(workDirectory: string, name: string): Promise<string | undefined> {
  if (!fileName.safeParse(name).success) return undefined;
  const inside = (await realpath(workDirectory)) + sep;
  const real = await realpath(join(workDirectory, name)).catch(() => undefined);
  if (real === undefined || !real.startsWith(inside)) return undefined;
  return (await lstat(real)).isFile() ? real : undefined;
}

/**
 * The URL that an output of an attempt is stored at.
 *
 * @throws E_STAGE_OUT_FAILED when the name or the URL could lead anywhere but below `outputUrl`.
 */
export function outputLocation(
  where: { outputUrl: string; jobId: string; attemptId: string; attemptNumber: number },
  name: string,
): URL {
  if (!fileName.safeParse(name).success || !name.isWellFormed())
    throw failed(name, 'The name of the output is not a safe relative path.');
  const base = new URL(where.outputUrl);
  const parts = [where.jobId, `${where.attemptNumber}-${where.attemptId}`, ...name.split('/')];
  base.pathname = `${base.pathname.replace(/\/+$/, '')}/${parts.map(encodeURIComponent).join('/')}`;
  return base;
}

async function storeOne(
  output: { name: string; path: string },
  options: StageOutOptions,
): Promise<StoredOutput> {
  if (options.outputUrl === undefined) throw failed(output.name, 'The job names outputs but no outputUrl.');
  const url = outputLocation({ ...options, outputUrl: options.outputUrl }, output.name);
  const copied = await retryTransfer(
    () =>
      url.protocol === 'file:'
        ? storeFile(output.path, url, options.signal)
        : storeHttp(output.path, url, options),
    {
      ...options,
      name: output.name,
      giveUp: error => failed(url.href, `The output cannot be stored: ${error.message}.`),
    },
  );
  return { name: output.name, url: url.href, ...copied };
}

async function storeFile(path: string, url: URL, signal: AbortSignal): Promise<Copied> {
  let temporary: string | undefined;
  try {
    const destination = fileURLToPath(url);
    const directory = dirname(destination);
    await mkdir(directory, { recursive: true });
    temporary = join(
      directory,
      `.${basename(destination).slice(0, 200)}.${randomBytes(6).toString('hex')}.tmp`,
    );
    const file = await open(temporary, 'wx', 0o644);
    let copied: Copied;
    try {
      copied = await withOutput(path, source =>
        copyHashed(read(source), file, () => signal.throwIfAborted()),
      );
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, destination);
    await syncDirectory(directory);
    return copied;
  } catch (error) {
    if (temporary !== undefined) await rm(temporary, { force: true });
    signal.throwIfAborted();
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EIO' || code === 'ESTALE' || code === 'ETIMEDOUT' || code === 'EAGAIN') {
      throw new TransientTransferError(describe(error), { cause: error });
    }
    throw failed(url.href, `The output cannot be stored: ${describe(error)}.`);
  }
}

async function storeHttp(path: string, url: URL, options: StageOutOptions): Promise<Copied> {
  return withOutput(path, async source => {
    const hashed = hashThrough(read(source));
    const { size } = await source.stat();
    try {
      const { statusCode, headers, body } = await request(url, {
        method: 'PUT',
        dispatcher: options.dispatcher,
        signal: options.signal,
        headers: { 'content-type': 'application/octet-stream', 'content-length': String(size) },
        body: hashed.stream as never,
        headersTimeout: 120_000,
        bodyTimeout: 60_000,
      });
      await body.dump().catch(() => undefined);
      if (statusCode >= 500 || statusCode === 429 || statusCode === 408) {
        throw new TransientTransferError(`${url.origin} answered ${statusCode}`, {
          retryAfterSeconds: Number(headers['retry-after'] ?? 0) || undefined,
        });
      }
      if (statusCode < 200 || statusCode > 299)
        throw failed(url.href, `The destination answered ${statusCode}`);
      return hashed.result();
    } catch (error) {
      options.signal.throwIfAborted();
      if (
        error instanceof TransientTransferError ||
        (error as { code?: string }).code === 'E_STAGE_OUT_FAILED'
      ) {
        throw error;
      }
      throw new TransientTransferError(describe(error), { cause: error });
    }
  });
}

async function withOutput<T>(path: string, use: (file: FileHandle) => Promise<T>): Promise<T> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    return await use(file);
  } finally {
    await file.close();
  }
}

const read = (file: FileHandle): AsyncIterable<Uint8Array> =>
  file.createReadStream({ autoClose: false, start: 0, highWaterMark: 256 * 1024 });

const failed = (where: string, message: string) =>
  agentError({
    code: 'E_STAGE_OUT_FAILED',
    message,
    where,
    fix: 'Check the destination, its space and permissions.',
  });
