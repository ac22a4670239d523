import { Client } from 'undici';
import type { Dispatcher } from 'undici';
import { PilotageError, fromSystemError, libError } from '../../../lib/errors.ts';
import type { ErrorParts } from '../../../lib/errors.ts';
import type { VerifyProgress } from '../objects/verify-objects.ts';
import { controlPath } from './cache-directory.ts';
import type { AllStats, Purge, Purged } from './control-socket.ts';

const ANSWER_SECONDS = 15;
/** Between two steps of a verify: one object. */
const STEP_SECONDS = 300;
/** A restart waits for answers under way. */
const RESTART_SECONDS = 4000;
const MAX_BYTES = 1 << 22;

type Reply = Dispatcher.ResponseData;

/** The cache that runs on a directory, asked over its control socket as the user who runs it. */
export class ControlClient {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @throws E_UNREACHABLE when no cache runs there, E_PERMISSION for other users, E_TIMEOUT; so do all. */
  stats(): Promise<AllStats> {
    return this.#call('GET', '/stats');
  }

  purge(purge: Purge): Promise<Purged> {
    return this.#call('POST', '/purge', purge);
  }

  drain(undo: boolean): Promise<{ outOfService: boolean }> {
    return this.#call('POST', '/drain', { undo });
  }

  restart(): Promise<{ processes: number }> {
    return this.#call('POST', '/restart', {}, RESTART_SECONDS);
  }

  verify(onProgress: (progress: { objects: number; bytes: number }) => void): Promise<VerifyProgress> {
    return this.#ask({ method: 'POST', path: '/verify' }, STEP_SECONDS, async reply => {
      let text = '';
      for await (const chunk of reply.body as AsyncIterable<Buffer>) {
        text += chunk.toString('utf8');
        const lines = text.split('\n');
        text = lines.pop()!;
        for (const line of lines) {
          const step = JSON.parse(line) as
            { report: VerifyProgress } | { error: ErrorParts } | { objects: number; bytes: number };
          if ('report' in step) return step.report;
          if ('error' in step) throw new PilotageError(step.error);
          onProgress(step);
        }
      }
      throw this.#notRunning(undefined);
    });
  }

  #call<T>(method: 'GET' | 'POST', path: string, body?: object, seconds = ANSWER_SECONDS): Promise<T> {
    return this.#ask(
      { method, path, ...(body && { body: JSON.stringify(body) }) },
      seconds,
      async reply => (await reply.body.json()) as T,
    );
  }

  async #ask<T>(
    request: Pick<Dispatcher.RequestOptions, 'method' | 'path'> & { body?: string },
    seconds: number,
    read: (reply: Reply) => Promise<T>,
  ): Promise<T> {
    await using at = await controlPath(this.#directory);
    const client = new Client('http://cache', {
      socketPath: at.path,
      headersTimeout: seconds * 1000,
      bodyTimeout: seconds * 1000,
      maxResponseSize: request.path === '/verify' ? -1 : MAX_BYTES,
    });
    try {
      const reply = await client.request(request);
      if (reply.statusCode !== 200) throw new PilotageError((await reply.body.json()) as ErrorParts);
      return await read(reply);
    } catch (error) {
      throw this.#named(error, seconds);
    } finally {
      await client.destroy();
    }
  }

  #named(error: unknown, seconds: number): unknown {
    if (error instanceof PilotageError) return error;
    const { code = '' } = error as NodeJS.ErrnoException;
    if (['ENOENT', 'ECONNREFUSED', 'ENOTDIR', 'UND_ERR_SOCKET'].includes(code))
      return this.#notRunning(error);
    if (/TIMEOUT/.test(code))
      return libError({
        code: 'E_TIMEOUT',
        message: 'The cache did not answer over its control socket in time.',
        where: this.#directory,
        expected: `an answer within ${seconds} s`,
        fix: 'See its log; is the machine overloaded?',
        cause: error,
      });
    return fromSystemError(error, `${this.#directory}/control`);
  }

  #notRunning(cause: unknown): PilotageError {
    return libError({
      code: 'E_UNREACHABLE',
      message: 'No cache runs on this directory.',
      where: this.#directory,
      fix: 'Give the directory of a running "pilotage cache serve" (--dir).',
      cause,
    });
  }
}
