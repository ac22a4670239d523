import { createApiClient } from '../lib/api-client.ts';
import { systemClock } from '../lib/clock.ts';
import { ensureDirectory, readTextBounded } from '../lib/files.ts';
import type { Logger } from '../lib/log.ts';
import type { AutopilotConfig } from './config/schema.ts';
import { newMemory } from './cycle/context.ts';
import type { Checkpoint, CycleContext } from './cycle/context.ts';
import type { CycleReport } from './cycle/run-cycle.ts';
import type { LocalCheckpoint } from './engines/local/local-engine.ts';
import { autopilotError } from './errors.ts';
import { openLedger } from './ledger/open-ledger.ts';
import { runLoop } from './loop.ts';
import { openEngine } from './open-engine.ts';
import { serverPort } from './server-port.ts';
import { statePaths } from './state-directory.ts';
import { stopPilots } from './stop-pilots.ts';

export interface RunOptions {
  config: AutopilotConfig;
  /** The wrapper script that every pilot starts with, root metadata inside. */
  wrapper: string;
  log: Logger;
  signal: AbortSignal;
  env: NodeJS.ProcessEnv;
  once: boolean;
  /** Ask the pilots to end, and wait for them, when this program is told to. */
  drain: boolean;
  onReady: (first: CycleReport, factory: string) => void;
  /** For tests that end the process at the named places. */
  checkpoint?: (name: Checkpoint | LocalCheckpoint) => Promise<void> | void;
}

/**
 * Runs an autopilot until its signal aborts; its pilots go on, unless it drains.
 *
 * @throws what opening ledger, engine and files throws; E_DRAIN_INCOMPLETE; with `once` what kept the cycle from working.
 */
export async function runAutopilot(options: RunOptions): Promise<void> {
  const { config, log } = options;
  const paths = statePaths(config.state);
  const tls = await readTls(config);
  const ledger = await openLedger(paths.state, { queue: config.queue, factory: config.factory });
  try {
    await ensureDirectory(paths.logs, 0o700);
    const { env, checkpoint } = options;
    const engine = await openEngine(config, { spool: paths.spool, env, log, checkpoint });
    const client = createApiClient({ servers: config.servers, tls, log });
    try {
      const { queue, servers, caches, site, agent } = config;
      const context: CycleContext = {
        config,
        ledger,
        engine,
        server: serverPort(client, ledger.owner, config.callSeconds),
        spool: paths.spool,
        logs: paths.logs,
        wrapper: options.wrapper,
        bootstrap: { queue, servers, caches, site, agent, serverCa: tls.ca },
        memory: newMemory(),
        clock: systemClock,
        log: log.child({ queue, factory: ledger.owner.factory }),
        signal: options.signal,
        checkpoint: options.checkpoint ?? (() => undefined),
      };
      const onReady = (first: CycleReport) => options.onReady(first, ledger.owner.factory);
      await runLoop(context, { once: options.once, onReady });
      if (options.drain && options.signal.aborted) await drain(context);
    } finally {
      await engine.close();
      await client.close();
    }
  } finally {
    ledger.close();
  }
}

async function readTls(config: AutopilotConfig): Promise<{ ca: string; cert?: string; key?: string }> {
  const [ca, cert, key] = await Promise.all([
    readTextBounded(config.serverCa),
    config.cert === undefined ? undefined : readTextBounded(config.cert),
    config.key === undefined ? undefined : readTextBounded(config.key),
  ]);
  return { ca, ...(cert !== undefined && { cert }), ...(key !== undefined && { key }) };
}

async function drain({ engine, config, clock, log }: CycleContext): Promise<void> {
  const { asked, left } = await stopPilots(engine, { waitSeconds: config.drainSeconds, force: false, clock });
  log.info({ asked, left }, 'pilots were asked to end');
  if (left === 0) return;
  throw autopilotError({
    code: 'E_DRAIN_INCOMPLETE',
    message: `${left} of ${asked} pilot(s) have not ended within ${config.drainSeconds} s.`,
    where: config.state,
    fix: 'Run "pilotage autopilot stop-pilots --force" on this state directory, or let them go on.',
  });
}
