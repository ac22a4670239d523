import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import PQueue from 'p-queue';
import type { Dispatcher } from 'undici';
import type { Clock } from '../../lib/clock.ts';
import type { PilotageError } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import type { InputFile } from '../../lib/protocol/job.ts';
import { agentError } from '../errors.ts';
import { openSource } from '../open-source.ts';
import { TransientTransferError, copyHashed, retryTransfer } from '../transfer.ts';

export interface StageInOptions {
  inputs: readonly InputFile[];
  workDirectory: string;
  /** On the same file system; holds what is not verified yet. */
  temporaryDirectory: string;
  /** Of all inputs together. */
  maxBytes: number;
  concurrency: number;
  dispatcher: Dispatcher;
  signal: AbortSignal;
  clock: Clock;
  log: Logger;
}

/**
 * Fetches all inputs into the work directory. A file appears there only whole and with the sha256 that the job names.
 *
 * @returns name and sha256 of each, for the receipt.
 * @throws E_STAGE_IN_FAILED, E_STAGE_IN_CHECKSUM, E_WORK_DISK_EXCEEDED naming the input; the first one ends all.
 */
export async function stageIn(
  options: StageInOptions,
): Promise<{ name: string; sha256: string; bytes: number }[]> {
  const queue = new PQueue({ concurrency: options.concurrency });
  const abort = new AbortController();
  const signal = AbortSignal.any([options.signal, abort.signal]);
  const budget = new ByteBudget(options.maxBytes);
  const staged = options.inputs.map((input, index) =>
    queue
      .add(() =>
        stageOne(input, join(options.temporaryDirectory, `input-${index}`), { ...options, signal, budget }),
      )
      .catch((error: unknown) => {
        // The first failure is the one that is told; the others only end because of it.
        abort.abort(error);
        throw error;
      }),
  );
  const results = await Promise.allSettled(staged);
  options.signal.throwIfAborted();
  if (abort.signal.aborted) throw abort.signal.reason;
  return results.map(result => (result as PromiseFulfilledResult<Awaited<(typeof staged)[number]>>).value);
}

async function stageOne(
  input: InputFile,
  temporary: string,
  options: StageInOptions & { budget: ByteBudget },
): Promise<{ name: string; sha256: string; bytes: number }> {
  let checksumFailures = 0;
  return retryTransfer(
    async () => {
      try {
        return await fetchOne(input, temporary, options);
      } catch (error) {
        // One more look: a cache between may have been caught while it was filled.
        if ((error as PilotageError).code !== 'E_STAGE_IN_CHECKSUM' || checksumFailures > 0) throw error;
        if (input.url.startsWith('file:')) throw error;
        checksumFailures += 1;
        throw new TransientTransferError((error as Error).message, { cause: error });
      }
    },
    {
      ...options,
      name: input.name,
      giveUp: error => fail('E_STAGE_IN_FAILED', input, `The input cannot be fetched: ${error.message}.`),
    },
  );
}

async function fetchOne(
  input: InputFile,
  temporary: string,
  options: StageInOptions & { budget: ByteBudget },
) {
  const source = await openSource(input.url, options);
  const limit = input.bytes;
  let received = 0;
  const reserved = options.budget.open(input);
  try {
    await rm(temporary, { force: true });
    const file = await open(temporary, 'wx', 0o600);
    try {
      const copied = await copyHashed(source.stream, file, bytes => {
        options.signal.throwIfAborted();
        received += bytes;
        reserved.take(bytes);
        if (limit !== undefined && received > limit)
          throw wrongSize(input, limit, `more than ${limit} bytes`);
      });
      if (source.bytes !== undefined && copied.bytes < source.bytes) {
        throw new TransientTransferError(`only ${copied.bytes} of ${source.bytes} bytes came`);
      }
      if (limit !== undefined && copied.bytes !== limit)
        throw wrongSize(input, limit, `${copied.bytes} bytes`);
      if (copied.sha256 !== input.sha256) {
        throw fail('E_STAGE_IN_CHECKSUM', input, 'The input does not have the sha256 that the job names', {
          expected: input.sha256,
          found: copied.sha256,
        });
      }
    } finally {
      await file.close();
    }
    const destination = join(options.workDirectory, input.name);
    await mkdir(dirname(destination), { recursive: true, mode: 0o700 });
    await rename(temporary, destination);
    return { name: input.name, sha256: input.sha256, bytes: received };
  } catch (error) {
    reserved.giveBack();
    await rm(temporary, { force: true });
    const system = error as NodeJS.ErrnoException;
    if (system.syscall === undefined || error instanceof TransientTransferError) throw error;
    throw fail('E_STAGE_IN_FAILED', input, `The input cannot be written: ${system.message}.`);
  }
}

/** Bytes that all inputs together may take. */
class ByteBudget {
  readonly #maxBytes: number;
  #taken = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  open(input: InputFile): { take(bytes: number): void; giveBack(): void } {
    let own = 0;
    return {
      take: bytes => {
        own += bytes;
        this.#taken += bytes;
        if (this.#taken > this.#maxBytes) {
          throw fail('E_WORK_DISK_EXCEEDED', input, `The inputs are larger than limits.diskBytes`, {
            expected: `at most ${this.#maxBytes} bytes`,
          });
        }
      },
      giveBack: () => {
        this.#taken -= own;
        own = 0;
      },
    };
  }
}

const wrongSize = (input: InputFile, expected: number, found: string) =>
  fail('E_STAGE_IN_CHECKSUM', input, 'The input does not have the size that the job names', {
    expected: `${expected} bytes`,
    found,
  });

const fail = (
  code: 'E_STAGE_IN_FAILED' | 'E_STAGE_IN_CHECKSUM' | 'E_WORK_DISK_EXCEEDED',
  input: InputFile,
  message: string,
  more: { expected?: string; found?: string } = {},
) =>
  agentError({
    code,
    message: `${message} (input "${input.name}")`,
    where: input.url,
    fix: 'Check the source copy, and the checksum and size in the job.',
    ...more,
  });
