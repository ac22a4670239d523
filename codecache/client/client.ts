import { hostname } from 'node:os';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Refusal } from '../../lib/errors.ts';
import { silentLog } from '../../lib/log.ts';
import type { Logger } from '../../lib/log.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import type { Place } from './choose-release.ts';
import { openDownloads } from './download.ts';
import type { Downloads, DownloadTimeouts, Progress, Source } from './download.ts';
import { openNodeStore } from './node-store.ts';
import type { NodeStore } from './node-store.ts';
import { PathHealth } from './path-health.ts';
import type { RefreshOptions } from './refresh.ts';
import { throughPaths } from './through-paths.ts';

/** What every use of the code store from a node is given. */
export interface ClientOptions {
  /** The pinned root, bytes of `N.root.json`. */
  trustedRoot: Uint8Array | string;
  /** Node-local store, mode 0700; shared with the wrapper. */
  storeDirectory: string;
  /**
   * Ways to the store, caches or origins: groups in order, `http://a|http://b` is one group, `http://squid>http://store`
   * goes through a forward proxy. What is not listed is never asked.
   */
  caches: readonly string[];
  queue: string;
  /** `linux-x64`; default this machine's. */
  arch?: string;
  /** Site of the queue, default `none`; with `node` it decides on which side of a rollout this is. */
  site?: string;
  /** Default the host name. */
  node?: string;
  floors?: Floors | null;
  /** What is known of the caches from before; whoever asks more than once keeps one. */
  health?: PathHealth;
  /** How long to go on when no cache answers, default 30; 0 tries every cache once. */
  patienceSeconds?: number;
  clock?: Clock;
  signal?: AbortSignal;
  log?: Logger;
  timeouts?: DownloadTimeouts;
  onProgress?: (progress: Progress) => void;
}

export interface Client {
  store: NodeStore;
  clock: Clock;
  log: Logger;
  downloads: Downloads;
  signal: AbortSignal | undefined;
  refresh: RefreshOptions;
  place: () => Place;
  /** {@link throughPaths} of these options. */
  through: <T>(attempt: (source: Source) => Promise<T>) => Promise<{ value: T; refusals: Refusal[] }>;
}

/** Opens store and connections for `work` and closes them after it. @throws E_STORE_UNSAFE, and what `work` throws. */
export async function withClient<T>(
  options: ClientOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const { trustedRoot, queue, caches, signal, floors = null, clock = systemClock, log = silentLog } = options;
  const { health = new PathHealth({ clock }), patienceSeconds = 30, timeouts, onProgress } = options;
  const store = await openNodeStore(options.storeDirectory, trustedRoot);
  const downloads = openDownloads({ signal, onProgress, ...(timeouts && { timeouts }) });
  try {
    return await work({
      store,
      clock,
      log,
      downloads,
      signal,
      refresh: { store, trustedRoot, queue, floors, clock, downloads, signal },
      place: () => ({
        arch: options.arch ?? `linux-${process.arch}`,
        nowMs: clock.now(),
        site: options.site ?? 'none',
        node: options.node ?? hostname(),
      }),
      through: attempt => throughPaths({ caches, health, patienceSeconds, clock, log, signal }, attempt),
    });
  } finally {
    await downloads.close();
  }
}
