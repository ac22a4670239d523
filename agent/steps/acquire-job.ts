import type { ApiClient } from '../../lib/api-client.ts';
import { PilotageError } from '../../lib/errors.ts';
import { PROTOCOL_VERSION } from '../../lib/protocol.ts';
import type { Lease, Resources } from '../../lib/protocol/job.ts';
import type { ReleaseRef } from '../../lib/protocol/release.ts';
import type { AgentConfig } from '../config/schema.ts';

export type Acquired =
  | { kind: 'lease'; lease: Lease }
  | { kind: 'nothing'; retrySeconds: number; refusals: readonly { predicate: string; jobs: number }[] }
  /** The server wants no more of this pilot; `because` is its word for why. */
  | { kind: 'drain'; because: string | null }
  /** The server takes no more requests of this pilot, for good. */
  | { kind: 'refused'; error: PilotageError }
  /** No server can dispatch now. */
  | { kind: 'unavailable'; error: PilotageError };

const UNAVAILABLE =
  /^E_(UNREACHABLE|TIMEOUT|NOT_READY|DRAINING|OVERLOADED|INTERNAL|TOO_MANY_REQUESTS|PILOT_CAP|PROTOCOL)$/;

/** Asks for a job once, waiting at the server for at most `waitSeconds`. A lost answer is asked for again with the same key. */
export async function acquireJob(options: {
  api: ApiClient;
  release: ReleaseRef | null;
  node: string;
  resources: Resources;
  config: AgentConfig;
  waitSeconds: number;
  signal: AbortSignal;
}): Promise<Acquired> {
  try {
    const reply = await options.api.call('acquire', {
      body: {
        protocol: PROTOCOL_VERSION,
        release: options.release,
        node: options.node,
        labels: options.config.labels,
        resources: options.resources,
        containment: options.config.containment,
        waitSeconds: options.waitSeconds,
      },
      signal: options.signal,
      patienceSeconds: 10,
      timeoutSeconds: Math.ceil(options.waitSeconds) + 30,
    });
    if (reply.lease) return { kind: 'lease', lease: reply.lease };
    if (reply.drain) return { kind: 'drain', because: reply.drainBecause };
    return { kind: 'nothing', retrySeconds: reply.retrySeconds, refusals: reply.refusals };
  } catch (error) {
    if (!(error instanceof PilotageError)) throw error;
    return { kind: UNAVAILABLE.test(error.code) ? 'unavailable' : 'refused', error };
  }
}
