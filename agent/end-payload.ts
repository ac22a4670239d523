import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { ProcessTree } from './process-tree.ts';

const POLL_MS = 40;
const GIVE_UP_MS = 15_000;

/**
 * Ends every process of a payload: SIGTERM to its group and to what left it, SIGKILL after `graceMs`, again until none is
 * left.
 *
 * @param options.hurry ends the grace at once when it is aborted.
 * @returns how many processes could not be ended within 15 s of SIGKILL (stuck in the kernel).
 */
export async function endPayload(
  tree: ProcessTree,
  options: { graceMs: number; clock: Clock; log: Logger; hurry: AbortSignal },
): Promise<number> {
  const { clock } = options;
  if (options.graceMs > 0 && !options.hurry.aborted) {
    const members = tree.signal('SIGTERM');
    if (members === 0) return 0;
    options.log.info({ members, graceMs: options.graceMs }, 'payload told to end');
    const graceEnds = clock.monotonic() + options.graceMs;
    while (clock.monotonic() < graceEnds && !options.hurry.aborted) {
      if (tree.refresh(true).length === 0) return 0;
      await clock.sleep(POLL_MS);
    }
  }
  const giveUpAt = clock.monotonic() + GIVE_UP_MS;
  for (let left = tree.signal('SIGKILL'); ; left = tree.signal('SIGKILL')) {
    if (left === 0) return 0;
    if (clock.monotonic() > giveUpAt) {
      options.log.error({ processes: left }, 'processes of the payload cannot be ended');
      return left;
    }
    await clock.sleep(POLL_MS);
  }
}
