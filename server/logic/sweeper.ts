import type { ServerContext } from './context.ts';
import { expireLeases } from './expire-leases.ts';

/** Sweeps every `sweepSeconds` until closed; a failed sweep is logged and the next one tries again. */
export function startSweeper(context: ServerContext): { close: () => Promise<void> } {
  const { sweepSeconds } = context.settings;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();
  const sweep = async () => {
    try {
      await expireLeases(context);
    } catch (error) {
      context.log.error({ err: error }, 'sweep failed');
    }
    if (!closed) timer = setTimeout(next, sweepSeconds * 1000);
  };
  const next = () => {
    running = sweep();
  };
  timer = setTimeout(next, sweepSeconds * 1000);
  return {
    close: async () => {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
