import type { Clock } from '../../../lib/clock.ts';
import type { Logger } from '../../../lib/log.ts';
import type { Farewell, WorkerOptions } from './calls.ts';
import type { Ended, WorkerProcess } from './worker-process.ts';

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 30_000;
/** A worker that lived this long has not failed at its start. */
const LONG_LIFE_MS = 30_000;

/** Clients that keep a connection for later, as ours do for 4 s, let go of it before it is closed under their request. */
const IDLE_SECONDS = 5;

/** What workers run with. */
export interface PoolPlan {
  count: number;
  options: WorkerOptions;
  drainSeconds: number;
}

interface Slot {
  readonly number: number;
  worker: WorkerProcess | undefined;
  failures: number;
}

/** As many workers as planned: whichever ends by accident is named in the log and replaced, after 100 ms doubling to 30 s. */
export class WorkerPool {
  readonly #fork: (number: number) => WorkerProcess;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #ending = new AbortController();
  #plan: PoolPlan | undefined;
  #slots: Slot[] = [];
  /** Of earlier plans, on their way out. */
  readonly #leaving = new Set<Promise<void>>();
  #lastNumber = 0;
  #replaced = 0;
  #outOfService = false;

  constructor(options: { fork: (number: number) => WorkerProcess; log: Logger; clock: Clock }) {
    this.#fork = options.fork;
    this.#log = options.log;
    this.#clock = options.clock;
  }

  /** Workers that answer now. */
  get workers(): WorkerProcess[] {
    return this.#slots.flatMap(({ worker }) => worker ?? []);
  }

  get planned(): number {
    return this.#slots.length;
  }

  /** Workers that ended by accident, so far. */
  get replaced(): number {
    return this.#replaced;
  }

  /**
   * Starts workers by a plan and, once all of them answer, drains those of the plan before. When one does not become
   * ready, the others of this plan are ended and those before go on.
   *
   * @throws what the worker that failed throws.
   */
  async run(plan: PoolPlan): Promise<void> {
    const started = Array.from({ length: plan.count }, () => ({
      number: ++this.#lastNumber,
      worker: undefined,
      failures: 0,
    }));
    const outcomes = await Promise.allSettled(started.map(({ number }) => this.#start(number, plan)));
    const workers = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? outcome.value : []));
    const failed = outcomes.find(outcome => outcome.status === 'rejected');
    if (failed !== undefined || this.#ending.signal.aborted) {
      await Promise.all(workers.map(worker => worker.kill()));
      throw failed?.reason ?? this.#ending.signal.reason;
    }
    const before = this.#slots;
    const drainSeconds = this.#plan?.drainSeconds ?? 0;
    this.#plan = plan;
    this.#slots = started;
    started.forEach((slot, index) => this.#watch(slot, workers[index]!));
    const idleSeconds = Math.min(IDLE_SECONDS, drainSeconds / 2);
    await this.#drain(before, { drainSeconds, idleSeconds });
  }

  /** Whether the workers tell balancers to go elsewhere: those of now, and those that replace them. */
  outOfService(out: boolean): void {
    this.#outOfService = out;
    for (const { calls } of this.workers) calls.tell('outOfService', out);
  }

  /** Ends all workers, each with the time to finish what it does. */
  async end(): Promise<void> {
    this.#ending.abort(new DOMException('the cache ends', 'AbortError'));
    const drainSeconds = this.#plan?.drainSeconds ?? 0;
    // Whoever asks after this meets nobody anyway.
    void this.#drain(this.#slots, { drainSeconds, idleSeconds: 0 });
    await Promise.all(this.#leaving);
  }

  async #drain(slots: readonly Slot[], farewell: Farewell): Promise<void> {
    const drained = Promise.all(slots.map(async ({ worker }) => worker?.end(farewell))).then(() => undefined);
    this.#leaving.add(drained);
    await drained;
    this.#leaving.delete(drained);
  }

  /** @throws what the worker throws; what the system says when it starts no more processes. */
  async #start(number: number, { options }: PoolPlan): Promise<WorkerProcess> {
    const worker = this.#fork(number);
    await worker.start({ ...options, outOfService: this.#outOfService });
    return worker;
  }

  #watch(slot: Slot, worker: WorkerProcess): void {
    slot.worker = worker;
    // It may have changed since the worker was started.
    worker.calls.tell('outOfService', this.#outOfService);
    void worker.ended.then(ended => {
      slot.worker = undefined;
      if (worker.leaving || !this.#slots.includes(slot)) return;
      this.#replaced += 1;
      if (performance.now() - worker.startedMs > LONG_LIFE_MS) slot.failures = 0;
      void this.#replace(slot, worker, ended);
    });
  }

  async #replace(slot: Slot, { pid }: WorkerProcess, { code, signal }: Ended): Promise<void> {
    const log = this.#log.child({ worker: slot.number });
    log.error({ ended: pid, code, signal }, 'a worker ended and is replaced');
    while (this.#slots.includes(slot) && !this.#ending.signal.aborted) {
      const waitMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** slot.failures);
      slot.failures += 1;
      try {
        await this.#clock.sleep(waitMs, this.#ending.signal);
      } catch {
        return;
      }
      if (!this.#slots.includes(slot)) return;
      let worker: WorkerProcess;
      try {
        worker = await this.#start(slot.number, this.#plan!);
      } catch (error) {
        log.error({ err: error }, 'a worker could not be started');
        continue;
      }
      // Meanwhile the cache may have been told to end, or have gone on by another plan.
      if (this.#ending.signal.aborted || !this.#slots.includes(slot)) return worker.kill();
      log.info({ pid: worker.pid }, 'the worker is replaced');
      return this.#watch(slot, worker);
    }
  }
}
