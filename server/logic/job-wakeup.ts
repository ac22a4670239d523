import { EventEmitter } from 'node:events';

/** Tells acquires that wait in this server that a queue has a job; other servers' acquires find it by asking again. */
export class JobWakeup {
  readonly #events = new EventEmitter().setMaxListeners(0);
  #waiting = 0;

  /** Calls that wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Call after the transaction that made jobs available has committed. */
  notify(queue: string): void {
    this.#events.emit(`queue:${queue}`);
  }

  /** Resolves when the queue may have a job, after `milliseconds`, or when the signal aborts; whichever is first. */
  wait(queue: string, milliseconds: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || milliseconds <= 0) return Promise.resolve();
    const event = `queue:${queue}`;
    this.#waiting += 1;
    return new Promise(resolve => {
      const done = () => {
        clearTimeout(timer);
        this.#events.off(event, done);
        signal.removeEventListener('abort', done);
        this.#waiting -= 1;
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this.#events.once(event, done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}
