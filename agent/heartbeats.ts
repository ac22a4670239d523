import { clientAction } from '../lib/api-client.ts';
import type { ApiClient } from '../lib/api-client.ts';
import type { Clock } from '../lib/clock.ts';
import { PilotageError } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import type { RequestBody } from '../lib/protocol.ts';
import type { Lease, PilotCommand } from '../lib/protocol/job.ts';

export type Progress = Pick<RequestBody<'heartbeat'>, 'state' | 'usage' | 'tail'>;

/** Whether an answer means that this attempt is no longer ours: it was fenced, or its job has ended. */
export function isGone(error: unknown): error is PilotageError {
  if (!(error instanceof PilotageError)) return false;
  const action = clientAction(error);
  return action === 'drop this attempt' || action === 'drop this job';
}

/** Between two heartbeats at least, whatever a server asks for. */
const MIN_PAUSE_MS = 50;

/**
 * The heartbeats of one attempt, one at a time, every `heartbeatSeconds` and whenever something is worth telling. A
 * server that cannot be reached ends nothing: the payload runs on, and the next heartbeat tries again.
 */
export class Heartbeats {
  readonly #api: () => ApiClient;
  readonly #lease: Lease;
  readonly #progress: () => Progress;
  readonly #onCommand: (command: PilotCommand) => void;
  readonly #onGone: (code: string) => void;
  readonly #onBeat: () => Promise<void>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #stopping = new AbortController();
  readonly #loop: Promise<void>;
  #wake: () => void = () => undefined;
  #woken = false;
  #acknowledged: string[] = [];
  readonly #obeyed = new Set<string>();

  constructor(options: {
    api: () => ApiClient;
    lease: Lease;
    /** What is to be told now. */
    progress: () => Progress;
    onCommand: (command: PilotCommand) => void;
    /** Told once, when the server no longer takes writes of this attempt. */
    onGone: (code: string) => void;
    /** Other work with the same clock: renewing certificates. */
    onBeat: () => Promise<void>;
    clock: Clock;
    log: Logger;
  }) {
    this.#api = options.api;
    this.#lease = options.lease;
    this.#progress = options.progress;
    this.#onCommand = options.onCommand;
    this.#onGone = options.onGone;
    this.#onBeat = options.onBeat;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#loop = this.#run();
  }

  /** Sends one as soon as the one on its way, if any, is answered. */
  reportNow(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Stops, and waits until none is on its way any more. */
  async stop(): Promise<void> {
    this.#stopping.abort(new DOMException('heartbeats stop', 'AbortError'));
    this.#wake();
    await this.#loop;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#untilDue(signal);
      if (signal.aborted) return;
      await this.#onBeat();
      if (!(await this.#beat(signal))) return;
      await this.#clock.sleep(MIN_PAUSE_MS, signal).catch(() => undefined);
    }
  }

  async #untilDue(signal: AbortSignal): Promise<void> {
    if (this.#woken) {
      this.#woken = false;
      return;
    }
    const waiting = new AbortController();
    const woken = new Promise<void>(resolve => (this.#wake = resolve));
    const due = this.#clock
      .sleep(this.#lease.heartbeatSeconds * 1000, AbortSignal.any([waiting.signal, signal]))
      .catch(() => undefined);
    await Promise.race([woken, due]);
    waiting.abort(new DOMException('due', 'AbortError'));
    this.#woken = false;
  }

  async #beat(signal: AbortSignal): Promise<boolean> {
    const acknowledged = this.#acknowledged.slice(0, 100);
    try {
      const reply = await this.#api().call('heartbeat', {
        params: { attemptId: this.#lease.attemptId },
        body: { incarnation: this.#lease.incarnation, ...this.#progress(), acknowledged },
        patienceSeconds: 0,
        timeoutSeconds: Math.max(5, Math.min(30, Math.ceil(this.#lease.heartbeatSeconds))),
        signal,
      });
      this.#acknowledged = this.#acknowledged.slice(acknowledged.length);
      for (const command of reply.commands) this.#obey(command);
      return true;
    } catch (error) {
      if (signal.aborted) return false;
      if (isGone(error)) {
        this.#log.warn({ code: error.code }, 'the server no longer knows this attempt');
        this.#onGone(error.code);
        return false;
      }
      // E_PROTOCOL is among these: an answer with a verb that we do not know is not obeyed in any part.
      this.#log.warn({ err: error }, 'heartbeat failed');
      return true;
    }
  }

  #obey(command: PilotCommand): void {
    this.#acknowledged.push(command.id);
    if (this.#obeyed.has(command.id)) return;
    this.#obeyed.add(command.id);
    this.#log.info({ verb: command.verb, reason: command.reason }, 'command received');
    this.#onCommand(command);
  }
}
