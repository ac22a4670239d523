import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { codecacheError } from '../../errors.ts';
import type { Farewell, PrimaryCalls, WorkerCalls, WorkerOptions } from './calls.ts';
import { Channel } from './channel.ts';

const PROGRAM = fileURLToPath(new URL('worker-main.ts', import.meta.url));
/** To become ready; a directory of many objects is not read by the workers. */
const START_MS = 60_000;
/** Beyond the time it was given to drain. */
const END_MARGIN_MS = 2000;

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/** One worker, as the primary sees it. */
export class WorkerProcess {
  readonly #child: ChildProcess;
  readonly calls: Channel<WorkerCalls>;
  readonly pid: number | undefined;
  readonly startedMs = performance.now();
  /** Never rejects. */
  readonly ended: Promise<Ended>;
  #leaving = false;

  /** @param listeningFd is {@link LISTENING_FD} in the worker. */
  constructor(options: { number: number; listeningFd: number; primary: PrimaryCalls }) {
    this.#child = fork(PROGRAM, [`worker-${options.number}`], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', options.listeningFd],
    });
    this.pid = this.#child.pid;
    this.ended = new Promise(resolve => {
      this.#child.once('exit', (code, signal) => resolve({ code, signal }));
      this.#child.on('error', () => resolve({ code: null, signal: null }));
    });
    this.calls = new Channel<WorkerCalls>(this.#child, options.primary);
  }

  /** Asked to end: its end is no accident. */
  get leaving(): boolean {
    return this.#leaving;
  }

  /**
   * Lets it serve; resolves when it answers clients. It is gone after a failure.
   *
   * @throws what serveCache throws there; E_PROGRAM_ENDED when it ended without a word.
   */
  async start(options: WorkerOptions): Promise<void> {
    const died = this.ended.then(({ code, signal }) => {
      throw codecacheError({
        code: 'E_PROGRAM_ENDED',
        message: 'A process of the cache ended before it was ready.',
        where: `process ${this.pid ?? 'that could not be started'}`,
        found: signal ?? `exit code ${code}`,
        fix: 'See what it printed, and the memory and process limits of this user.',
      });
    });
    const started = this.calls.ask('start', START_MS, options);
    died.catch(() => undefined);
    // A channel that closes says less than the end that follows it.
    const failed = started.catch(async (error: { code?: string }) => {
      if (error.code === 'E_UNREACHABLE') await died;
      throw error;
    });
    try {
      await Promise.race([failed, died]);
    } catch (error) {
      failed.catch(() => undefined);
      await this.kill();
      throw error;
    }
  }

  /** Drains it; it is gone after. */
  async end(farewell: Farewell): Promise<void> {
    this.#leaving = true;
    this.calls.tell('end', farewell);
    const waitMs = farewell.drainSeconds * 1000 + END_MARGIN_MS;
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), waitMs);
    await this.ended;
    clearTimeout(timer);
  }

  async kill(): Promise<void> {
    this.#leaving = true;
    this.#child.kill('SIGKILL');
    await this.ended;
  }
}
