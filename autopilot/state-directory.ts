import { join, resolve } from 'node:path';

/** Where things lie in an autopilot's state directory. */
export const statePaths = (state: string) => ({
  state: resolve(state),
  spool: join(resolve(state), 'spool'),
  logs: join(resolve(state), 'logs'),
});
