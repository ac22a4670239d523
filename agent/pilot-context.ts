import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Cause, StoredOutput, Usage } from '../lib/protocol/job.ts';
import type { Bootstrap, ReleaseRef } from '../lib/protocol/release.ts';
import type { AgentConfig } from './config/schema.ts';
import type { PilotIdentity } from './pilot-identity.ts';
import type { ReleaseWatch } from './release-watch.ts';
import type { TrustAnchors } from './trust-anchors.ts';

/** What every attempt of an enrolled pilot works with. */
export interface PilotContext {
  sandbox: string;
  bootstrap: Pick<Bootstrap, 'instance' | 'servers' | 'serverCa'>;
  config: AgentConfig;
  release: ReleaseRef | null;
  node: string;
  identity: PilotIdentity;
  /** Whether the release that runs was revoked. */
  watch: ReleaseWatch;
  /** Authorities for a node that has none. */
  trust: TrustAnchors;
  /** Aborted by the first SIGTERM: hand back what runs. */
  stopping: AbortSignal;
  /** Aborted by the second: without any grace. */
  hurry: AbortSignal;
  clock: Clock;
  log: Logger;
}

/** What an attempt has come to so far; its result is made of it. */
export interface Work {
  inputs: { name: string; sha256: string }[];
  outputs: StoredOutput[];
  usage: Usage;
  cause: Cause | null;
}
