import type { Clock } from '../lib/clock.ts';
import type { Engine, EngineJob } from './engines/engine.ts';

export interface StopReport {
  /** Pilots that had not ended when it began. */
  asked: number;
  /** Those of them that have not ended now. */
  left: number;
}

const LOOK_MS = 200;

/**
 * Asks every pilot of an engine to end, which hands its job back, and waits up to `waitSeconds`; with `force` ends what is
 * left then. Pilots that wait for a slot never start.
 */
export async function stopPilots(
  engine: Engine,
  options: { waitSeconds: number; force: boolean; clock: Clock },
): Promise<StopReport> {
  const { clock } = options;
  const living = async (): Promise<EngineJob[]> =>
    (await engine.snapshot(AbortSignal.timeout(30_000))).jobs.filter(job => job.state !== 'ended');
  await engine.close(); // it goes on looking and cancelling, but starts nothing more
  const first = await living();
  await engine.cancel(first, 'term');
  let left = await waitForEnd(living, options.waitSeconds, clock);
  for (let round = 0; options.force && left.length > 0 && round < 3; round += 1) {
    await engine.cancel(left, 'kill');
    left = await waitForEnd(living, 5, clock);
  }
  return { asked: first.length, left: left.length };
}

async function waitForEnd(
  living: () => Promise<EngineJob[]>,
  waitSeconds: number,
  clock: Clock,
): Promise<EngineJob[]> {
  const deadline = clock.monotonic() + waitSeconds * 1000;
  for (;;) {
    const left = await living();
    if (left.length === 0 || clock.monotonic() >= deadline) return left;
    await clock.sleep(LOOK_MS);
  }
}
