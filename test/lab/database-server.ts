import type { Daemon } from './daemon.ts';
import { waitUntil } from './wait-until.ts';

/** A database daemon of a test's own. */
export interface DatabaseServer {
  /** Address of the maintenance database, for a user that may create others. */
  url: string;
  /** The address of another database of this server. */
  urlOf: (database: string) => string;
  /** kill -9; the data stays until `stop`. */
  kill: () => Promise<void>;
  /** Starts it again on the same port and data, after `kill`. */
  restart: () => Promise<void>;
  /** Ends it and removes the data. May be called again. */
  stop: () => Promise<void>;
}

/** Starts a daemon by `launch`; its data goes when it cannot be started, or at `stop`. */
export async function databaseServer(options: {
  maintenance: string;
  urlOf: (database: string) => string;
  launch: () => Promise<Daemon>;
  remove: () => Promise<void>;
}): Promise<DatabaseServer> {
  let daemon = await options.launch();
  return {
    url: options.urlOf(options.maintenance),
    urlOf: options.urlOf,
    kill: () => daemon.kill(),
    restart: async () => {
      // What was left of the killed one may hold its data for a moment yet.
      daemon = await waitUntil('the database daemon starts again', options.launch, { seconds: 20 });
    },
    stop: async () => {
      await daemon.stop();
      await options.remove();
    },
  };
}
