import { PilotageError, libError, partsOf } from '../../../lib/errors.ts';
import type { ErrorParts } from '../../../lib/errors.ts';

/** Calls that one side answers: names, arguments and results that are plain JSON. */
export type Calls = Record<string, (...args: never[]) => unknown>;

/** `process` in a child, ChildProcess in its parent. */
export interface Port {
  readonly connected?: boolean;
  send?(message: object, callback: (error: Error | null) => void): boolean;
  on(event: 'message', listener: (message: unknown) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
}

type Frame =
  | { call: string; args: unknown[]; id?: number }
  | { id: number; value?: unknown }
  | { id: number; error: ErrorParts };

/**
 * Calls between a process and its child over their IPC channel. Each side answers `handlers`; a call that is asked for an
 * answer has a deadline, and ends at once when the other side is gone.
 */
export class Channel<Remote extends Calls> {
  readonly #port: Port;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;

  constructor(port: Port, handlers: Calls) {
    this.#port = port;
    port.on('message', message => void this.#received(message as Frame, handlers));
    port.on('disconnect', () => {
      for (const { reject } of this.#waiting.values()) reject(gone());
    });
  }

  /** Calls without waiting; nobody hears of it when the other side is gone. */
  tell<K extends keyof Remote & string>(call: K, ...args: Parameters<Remote[K]>): void {
    this.#send({ call, args }, () => undefined);
  }

  /** @throws what the other side threw; E_TIMEOUT, E_UNREACHABLE when it did not answer. */
  async ask<K extends keyof Remote & string>(
    call: K,
    deadlineMs: number,
    ...args: Parameters<Remote[K]>
  ): Promise<Awaited<ReturnType<Remote[K]>>> {
    const id = ++this.#lastId;
    const answer = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => answer.reject(late(call, deadlineMs)), deadlineMs);
    this.#waiting.set(id, answer);
    try {
      this.#send({ call, args, id }, () => answer.reject(gone()));
      return (await answer.promise) as Awaited<ReturnType<Remote[K]>>;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  async #received(frame: Frame, handlers: Calls): Promise<void> {
    if (!('call' in frame)) {
      const waiting = this.#waiting.get(frame.id);
      if ('error' in frame) waiting?.reject(new PilotageError(frame.error));
      else waiting?.resolve(frame.value);
      return;
    }
    const { call, args, id } = frame;
    let reply: { value: unknown } | { error: ErrorParts };
    try {
      reply = { value: await handlers[call]!(...(args as never[])) };
    } catch (error) {
      reply = { error: partsOf(error) };
    }
    if (id !== undefined) this.#send({ id, ...reply }, () => undefined);
  }

  #send(frame: Frame, failed: () => void): void {
    if (this.#port.connected !== true) return failed();
    this.#port.send!(frame, error => {
      if (error !== null) failed();
    });
  }
}

const gone = () =>
  libError({
    code: 'E_UNREACHABLE',
    message: 'The process that was asked has ended.',
    fix: 'The log says why it ended.',
  });

const late = (call: string, deadlineMs: number) =>
  libError({
    code: 'E_TIMEOUT',
    message: 'A process of the cache did not answer in time.',
    where: call,
    expected: `an answer within ${deadlineMs} ms`,
    fix: 'Is the machine overloaded?',
  });
