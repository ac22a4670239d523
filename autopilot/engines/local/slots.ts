import { spawn } from 'node:child_process';
import type { Logger } from '../../../lib/log.ts';

const MAX_TRIES = 3;

export interface SlotOptions {
  maxRunning: number;
  /** Path of the starter script. */
  starter: string;
  /** Blocks of 512 bytes kept of each output. */
  outputBlocks: number;
  environment: Readonly<Record<string, string>>;
  log: Logger;
  /** Called when a starter of this process has ended. */
  onFreed: () => void;
}

/** The starters this process has spawned, and how many more may be. */
export interface Slots {
  /** A pilot takes its slot from the moment its starter is spawned until that has ended and its sandbox says so too. */
  isFull(running: ReadonlySet<string>): boolean;
  /** Spawns the starter of a queued sandbox, detached, in a session of its own. */
  start(key: string, directory: string): 'started' | 'already started' | 'gave up';
  /** Spawns nothing more, and lets go of what runs. */
  close(): void;
  readonly closed: boolean;
}

export function createSlots(options: SlotOptions): Slots {
  const starting = new Set<string>();
  const tries = new Map<string, number>();
  let closed = false;
  return {
    get closed() {
      return closed;
    },
    isFull: running => starting.union(running).size >= options.maxRunning,
    start(key, directory) {
      if (starting.has(key)) return 'already started';
      const tried = tries.get(key) ?? 0;
      if (tried >= MAX_TRIES) {
        tries.delete(key);
        return 'gave up';
      }
      tries.set(key, tried + 1);
      const child = spawn('/bin/sh', [options.starter, String(options.outputBlocks)], {
        cwd: directory,
        detached: true,
        stdio: 'ignore',
        env: options.environment,
      });
      starting.add(key);
      child.unref();
      child.once('error', error => {
        options.log.error({ err: error, pilot: key }, 'starter cannot be spawned');
        starting.delete(key);
      });
      child.once('exit', code => {
        starting.delete(key);
        if (code === 0) tries.delete(key);
        else options.log.warn({ pilot: key, exitCode: code }, 'starter did not run its pilot');
        if (!closed) options.onFreed();
      });
      return 'started';
    },
    close() {
      closed = true;
    },
  };
}
