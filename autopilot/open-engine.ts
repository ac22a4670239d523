import type { Logger } from '../lib/log.ts';
import type { AutopilotConfig } from './config/schema.ts';
import type { Engine } from './engines/engine.ts';
import { openLocalEngine } from './engines/local/local-engine.ts';
import type { LocalCheckpoint } from './engines/local/local-engine.ts';

/** Variables that pilots get from this program's own environment; nothing else is passed on. */
const INHERITED = ['PATH', 'HOME', 'TMPDIR', 'LANG', 'PILOTAGE_STORE'];

/** Opens the configured engine on a state directory's spool. */
export function openEngine(
  config: Pick<AutopilotConfig, 'maxPilots' | 'local'>,
  options: {
    spool: string;
    env: NodeJS.ProcessEnv;
    log: Logger;
    checkpoint?: ((name: LocalCheckpoint) => Promise<void> | void) | undefined;
  },
): Promise<Engine> {
  const inherited = INHERITED.filter(name => options.env[name] !== undefined).map(name => [
    name,
    options.env[name]!,
  ]);
  return openLocalEngine({
    spool: options.spool,
    maxRunning: config.local.maxRunning ?? Math.max(1, config.maxPilots),
    maxOutputBytes: config.local.maxOutputBytes,
    environment: { ...Object.fromEntries(inherited), ...config.local.environment },
    log: options.log,
    ...(options.checkpoint !== undefined && { checkpoint: options.checkpoint }),
  });
}
