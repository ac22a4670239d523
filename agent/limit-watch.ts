import type { Clock } from '../lib/clock.ts';
import type { Cause, JobDefinition } from '../lib/protocol/job.ts';
import { diskUse, overLimit } from './disk-use.ts';
import { makeCause } from './errors.ts';
import { residentBytes, sharedOnceBytes } from './process-tree.ts';
import type { ProcessTree } from './process-tree.ts';

const THOROUGH_EVERY_MS = 2000;
const DISK_EVERY_MS = 1000;

/** Watches one running payload: what it uses, and the first limit it breaks. */
export interface LimitWatch {
  /** Resolves with the cause when a limit is broken; never rejects, and never resolves once stopped. */
  broken: Promise<Cause>;
  readonly peakMemoryBytes: number;
  readonly diskBytes: number;
  /** CPU seconds of the living members and what they have reaped, as last sampled. */
  readonly cpuTicks: number;
  stop(): Promise<void>;
}

/**
 * Samples memory every `sampleMs` (four times as often above half of the limit, for what grows fast is over it soon),
 * the whole process table every 2 s, and the disk every second or ten times the duration of the last walk.
 */
export function watchLimits(options: {
  tree: ProcessTree;
  limits: JobDefinition['limits'];
  directories: readonly string[];
  sampleMs: number;
  clock: Clock;
}): LimitWatch {
  const { tree, limits, clock } = options;
  const stopping = new AbortController();
  let peakMemoryBytes = 0;
  let diskBytes = 0;
  let cpuTicks = 0;
  let report: (cause: Cause) => void = () => undefined;
  const broken = new Promise<Cause>(resolve => (report = resolve));

  async function watchMemory(): Promise<void> {
    let thoroughAt = 0;
    while (!stopping.signal.aborted) {
      const thorough = clock.monotonic() >= thoroughAt;
      if (thorough) thoroughAt = clock.monotonic() + THOROUGH_EVERY_MS;
      const rows = tree.refresh(thorough);
      cpuTicks = Math.max(
        cpuTicks,
        rows.reduce((sum, row) => sum + row.cpuTicks + row.reapedCpuTicks, 0),
      );
      // Resident memory is never below the true sum, so the dear look is needed only for what may be a new peak.
      if (residentBytes(rows) > peakMemoryBytes) {
        peakMemoryBytes = Math.max(peakMemoryBytes, await sharedOnceBytes(rows));
      }
      if (peakMemoryBytes > limits.memoryBytes) {
        report(makeCause('MEMORY_EXCEEDED', overLimit('peak', peakMemoryBytes, limits.memoryBytes)));
      }
      const near = peakMemoryBytes > limits.memoryBytes / 2;
      await clock.sleep(options.sampleMs / (near ? 4 : 1), stopping.signal);
    }
  }

  async function watchDisk(): Promise<void> {
    while (!stopping.signal.aborted) {
      const started = clock.monotonic();
      await measureDisk();
      const tookMs = clock.monotonic() - started;
      await clock.sleep(Math.max(DISK_EVERY_MS, tookMs * 10), stopping.signal);
    }
  }

  async function measureDisk(): Promise<void> {
    diskBytes = await diskUse(options.directories, limits.diskBytes * 2);
    if (diskBytes > limits.diskBytes) {
      report(makeCause('DISK_EXCEEDED', overLimit('used', diskBytes, limits.diskBytes)));
    }
  }

  async function watchWall(): Promise<void> {
    await clock.sleep(limits.wallSeconds * 1000, stopping.signal);
    report(
      makeCause(
        'WALLTIME_EXCEEDED',
        `still running after ${limits.wallSeconds} s of ${limits.wallSeconds} s`,
      ),
    );
  }

  const watches = [watchMemory(), watchDisk(), watchWall()].map(watch =>
    watch.catch((error: unknown) => {
      if (stopping.signal.aborted) return;
      // A watch that fails must not leave a payload unwatched.
      report(makeCause('PILOT_ERROR', `the watch of the payload failed: ${(error as Error).message}`));
    }),
  );

  return {
    broken,
    get peakMemoryBytes() {
      return peakMemoryBytes;
    },
    get diskBytes() {
      return diskBytes;
    },
    get cpuTicks() {
      return cpuTicks;
    },
    stop: async () => {
      stopping.abort(new DOMException('the payload has ended', 'AbortError'));
      await Promise.all(watches);
      await measureDisk();
    },
  };
}
