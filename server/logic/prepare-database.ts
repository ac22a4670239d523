import { randomBytes } from 'node:crypto';
import type { Database } from '../../lib/database/database.ts';
import { migrate } from '../../lib/database/migrate.ts';
import type { Logger } from '../../lib/log.ts';
import type { ServerConfig } from '../config/schema.ts';
import { serverError } from '../errors.ts';
import { serverMigrations } from '../migrations/all.ts';
import { insertService } from '../queries/insert-service.ts';
import { readService } from '../queries/read-service.ts';
import type { ServerTables } from '../schema.ts';
import { ensurePandaCounter } from './panda-id.ts';
import { syncQueues } from './sync-queues.ts';

/**
 * Makes a database ready for this server: schema, the row with its incarnation, the counter of integer ids, the queues of
 * the configuration. Safe to run on several servers at once and again.
 *
 * @throws E_SCHEMA_UNKNOWN, E_MIGRATION_CHANGED; E_INSTANCE_MISMATCH for a database of another instance.
 */
export async function prepareDatabase(
  database: Database<ServerTables>,
  config: Pick<ServerConfig, 'instance' | 'pandaIds' | 'queues'>,
  log: Logger,
): Promise<void> {
  await migrate(database, serverMigrations, { log });
  await database.transaction(async trx => {
    const { instance } = config;
    const incarnation = randomBytes(16).toString('hex');
    await insertService(trx, { id: 1, instance, incarnation, alive_ms: 0, swept_ms: 0 });
    const service = await readService(trx);
    if (service?.instance !== instance) {
      throw serverError({
        code: 'E_INSTANCE_MISMATCH',
        message: 'The database belongs to another instance.',
        where: 'instance',
        expected: service?.instance ?? 'a row in table service',
        found: instance,
        fix: 'Give the database of this instance, or correct "instance".',
      });
    }
    await ensurePandaCounter(trx, config.pandaIds);
    await syncQueues(trx, config.queues);
  });
}
