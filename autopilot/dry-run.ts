import { createApiClient } from '../lib/api-client.ts';
import { systemClock } from '../lib/clock.ts';
import { readTextBounded } from '../lib/files.ts';
import type { Logger } from '../lib/log.ts';
import type { AutopilotConfig } from './config/schema.ts';
import { countOwn } from './ledger/count-own.ts';
import { openBatches } from './ledger/open-batches.ts';
import { readLedger } from './ledger/open-ledger.ts';
import { recentOutcomes } from './ledger/recent-outcomes.ts';
import { plan } from './plan.ts';
import type { Plan } from './plan.ts';
import type { OwnPilots, RecentOutcomes } from './plan/step.ts';
import { serverPort } from './server-port.ts';
import { statePaths } from './state-directory.ts';

const nothingYet: { own: OwnPilots; recent: RecentOutcomes } = {
  own: { notEnded: 0, waiting: 0, expected: 0, missing: 0, unresolved: 0 },
  recent: {
    ended: 0,
    empty: 0,
    failedPilots: 0,
    failedBatches: 0,
    lastFailedAgoSeconds: 0,
    rejections: 0,
    lastRejectedAgoSeconds: 0,
  },
};

/**
 * The plan that a cycle would make now, from the ledger as it stands and the server's demand. Writes nothing, submits
 * nothing, and may run beside an autopilot; the batch system is taken as the ledger has it.
 *
 * @throws what reading the files and asking the server throws.
 */
export async function dryRun(config: AutopilotConfig, log: Logger): Promise<Plan> {
  const ca = await readTextBounded(config.serverCa);
  const cert = config.cert === undefined ? undefined : await readTextBounded(config.cert);
  const key = config.key === undefined ? undefined : await readTextBounded(config.key);
  const known = readKnown(config);
  const client = createApiClient({ servers: config.servers, tls: { ca, cert, key }, log });
  try {
    const owner = { queue: config.queue, factory: 'dry-run' };
    const demand = await serverPort(client, owner, config.callSeconds).demand(AbortSignal.timeout(60_000));
    return plan(
      { demand: { ...demand, ageSeconds: 0 }, engine: { ageSeconds: 0, complete: true }, ...known },
      config,
    );
  } finally {
    await client.close();
  }
}

function readKnown(config: AutopilotConfig): typeof nothingYet {
  const ledger = readLedger(statePaths(config.state).state);
  if (ledger === null) return nothingYet;
  try {
    return {
      own: { ...countOwn(ledger.db), missing: 0, unresolved: openBatches(ledger.db).length },
      recent: recentOutcomes(ledger.db, systemClock.now(), config.emptyWindowSeconds),
    };
  } finally {
    ledger.close();
  }
}
