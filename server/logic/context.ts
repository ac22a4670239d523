import type { Transaction } from 'kysely';
import type { Database } from '../../lib/database/database.ts';
import type { Logger } from '../../lib/log.ts';
import type { ServerConfig } from '../config/schema.ts';
import { readMoment } from '../queries/read-moment.ts';
import type { Moment } from '../queries/read-moment.ts';
import type { ServerTables } from '../schema.ts';
import type { CredentialIssuer } from './credential-issuer.ts';
import type { JobWakeup } from './job-wakeup.ts';
import type { FloorSource } from './release-floors.ts';
import { forgiveOutage } from './service-outage.ts';

/** The settings that logic uses. */
export type Settings = Pick<
  ServerConfig,
  | 'instance'
  | 'leaseSeconds'
  | 'heartbeatSeconds'
  | 'pilotLeaseSeconds'
  | 'pilotCertificateSeconds'
  | 'sweepSeconds'
  | 'outageSeconds'
  | 'retrySeconds'
  | 'idempotencySeconds'
  | 'demandWindowSeconds'
  | 'maxDelegationDepth'
  | 'pandaIds'
  | 'limits'
>;

/** What every verb of the server works with. */
export interface ServerContext {
  database: Database<ServerTables>;
  settings: Settings;
  log: Logger;
  wakeup: JobWakeup;
  issuer: CredentialIssuer;
  /** HMAC key of submission secrets, shared by the servers of the instance. */
  secretKey: Buffer;
  /** What the signed code store says: floors, whether they are fresh, and what was revoked. */
  releases: Omit<FloorSource, 'close'>;
}

export type Trx = Transaction<ServerTables>;

/** Runs a verb's work in one transaction, at one moment of the database's clock. */
export const inTransaction = <T>(
  context: ServerContext,
  work: (trx: Trx, moment: Moment) => Promise<T>,
): Promise<T> =>
  context.database.transaction(async trx => {
    const moment = await readMoment(trx, context.database.nowMs);
    await forgiveOutage(trx, moment, outageSecondsOf(context.settings), context.log);
    return work(trx, moment);
  });

/** Without a setting: a sixth of the lease, but never less than three sweeps, which keep the sign of life. */
const outageSecondsOf = (settings: Settings): number =>
  settings.outageSeconds ?? Math.max(3 * settings.sweepSeconds, settings.leaseSeconds / 6);

/** Seconds of the configuration as whole milliseconds. */
export const toMs = (seconds: number): number => Math.round(seconds * 1000);
