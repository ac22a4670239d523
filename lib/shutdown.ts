import type { Logger } from './log.ts';

/**
 * Makes this process get SIGTERM when its standard input ends: a program whose parent started it with a pipe there does
 * not outlive it, even when the parent is killed.
 */
export function endWithParent(): void {
  process.stdin.once('end', () => process.kill(process.pid, 'SIGTERM')).resume();
  if ('unref' in process.stdin) process.stdin.unref();
}

type Closer = { name: string; close: () => Promise<void> | void };

/**
 * Ordered end of a program: the first SIGTERM or SIGINT aborts `signal` (stop taking work), then closers run in reverse
 * order of registration; a second signal, or the deadline, ends the process and says what still held it.
 */
export class Shutdown {
  readonly #closers: Closer[] = [];
  readonly #abort = new AbortController();
  readonly #deadlineMs: number;
  #log: Logger | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: { deadlineMs?: number; log?: Logger } = {}) {
    this.#deadlineMs = options.deadlineMs ?? 20_000;
    this.#log = options.log;
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** Registers something to close; the last one registered is closed first. */
  defer(name: string, close: () => Promise<void> | void): void {
    this.#closers.push({ name, close });
  }

  /**
   * Listens to SIGTERM and SIGINT; call once, in a program's entry.
   *
   * @param options.endedCode exit code after an orderly end: 0 for a service, 130 for a command that was interrupted.
   * @param options.hangup whether the end of the terminal (SIGHUP) is a signal to end as well.
   */
  listen(options: { endedCode?: number; hangup?: boolean } = {}): this {
    const names: NodeJS.Signals[] = ['SIGTERM', 'SIGINT'];
    if (options.hangup) names.push('SIGHUP');
    for (const name of names) {
      process.on(name, () => {
        if (this.#closing) {
          process.exit(name === 'SIGINT' ? 130 : 143);
        }
        void this.close(name).then(() => process.exit(process.exitCode ?? options.endedCode ?? 0));
      });
    }
    return this;
  }

  /** Aborts the signal and closes everything; safe to call twice. */
  close(reason = 'close'): Promise<void> {
    this.#closing ??= this.#run(reason);
    return this.#closing;
  }

  async #run(reason: string): Promise<void> {
    let current = 'signal listeners';
    const timer = setTimeout(() => {
      this.#log?.error({ holding: current, deadlineMs: this.#deadlineMs }, 'shutdown deadline passed');
      process.exit(1);
    }, this.#deadlineMs);
    timer.unref();
    this.#abort.abort(new DOMException(reason, 'AbortError'));
    for (const closer of this.#closers.toReversed()) {
      current = closer.name;
      try {
        await closer.close();
      } catch (error) {
        this.#log?.error({ err: error, closing: closer.name }, 'closing failed');
      }
    }
    clearTimeout(timer);
  }
}
