import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import type { AutopilotConfig } from '../config/schema.ts';
import type { Engine } from '../engines/engine.ts';
import type { Ledger } from '../ledger/open-ledger.ts';
import type { ServerPort } from '../server-port.ts';
import type { BootstrapBase } from '../spool/render-sandbox.ts';

/** Places in a cycle after which a crash leaves something half done; see {@link CycleContext.checkpoint}. */
export const checkpoints = [
  'batches-settled',
  'engine-observed',
  'pilots-reconciled',
  'log-kept',
  'withdrawn-at-server',
  'removal-written',
  'planned',
  'batch-recorded',
  'submissions-created',
  'rows-written',
  'sandbox-rendered',
  'submitting-written',
  'engine-submitted',
  'queued-written',
  'swept',
] as const;
export type Checkpoint = (typeof checkpoints)[number];

/** What lives from cycle to cycle without being written down; a crash starts it afresh. */
export interface CycleMemory {
  /** Whether the server may know submissions of this factory that the ledger does not. */
  orphansPossible: boolean;
  /** Until when an answer that never arrived may still make some. */
  orphansUntilMs: number;
  lastSweepMs: number | null;
}

/** Everything a cycle works with; nothing in it is global. */
export interface CycleContext {
  config: AutopilotConfig;
  ledger: Ledger;
  engine: Engine;
  server: ServerPort;
  /** Directory of the sandboxes. */
  spool: string;
  /** Directory of the pilot logs. */
  logs: string;
  /** The rendered wrapper.sh. */
  wrapper: string;
  bootstrap: BootstrapBase;
  memory: CycleMemory;
  clock: Clock;
  log: Logger;
  signal: AbortSignal;
  /** Called at the named places; does nothing in production. */
  checkpoint: (name: Checkpoint) => Promise<void> | void;
}

export const newMemory = (): CycleMemory => ({ orphansPossible: true, orphansUntilMs: 0, lastSweepMs: null });

/** Notes that the server may have given submissions in an answer that was lost, or may still be about to. */
export function expectOrphans({ memory, clock, config }: CycleContext): void {
  memory.orphansPossible = true;
  memory.orphansUntilMs = clock.now() + 2 * config.callSeconds * 1000;
}
