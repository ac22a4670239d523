import type { Logger } from '../../../lib/log.ts';
import type { DiskKeeper, Forgotten } from '../objects/disk-keeper.ts';
import type { PrimaryCalls } from './calls.ts';
import type { Channel } from './channel.ts';

const MAKE_ROOM_MS = 30_000;

/** The keeper of the primary, as a worker sees it. */
export class RemoteKeeper implements DiskKeeper {
  readonly #primary: Channel<PrimaryCalls>;
  readonly #log: Logger;
  readonly #listeners: ((objects: Forgotten) => void)[] = [];

  constructor(primary: Channel<PrimaryCalls>, log: Logger) {
    this.#primary = primary;
    this.#log = log;
  }

  kept(sha256: string, bytes: number): void {
    this.#primary.tell('kept', sha256, bytes);
  }

  used(sha256: string): void {
    this.#primary.tell('used', sha256);
  }

  lost(sha256: string): void {
    this.#primary.tell('lost', sha256);
  }

  pin(view: string, sha256s: readonly string[]): void {
    this.#primary.tell('pin', view, sha256s);
  }

  /** Nothing was removed when the primary does not say so in time: the object is then served without being kept. */
  async makeRoom(bytes: number): Promise<number> {
    try {
      return await this.#primary.ask('makeRoom', MAKE_ROOM_MS, bytes);
    } catch (error) {
      this.#log.warn({ err: error, bytes }, 'nobody made room on the disk');
      return 0;
    }
  }

  onForgotten(listener: (objects: Forgotten) => void): void {
    this.#listeners.push(listener);
  }

  /** The primary says that these are no more. */
  forget(objects: Forgotten): void {
    for (const listener of this.#listeners) listener(objects);
  }
}
