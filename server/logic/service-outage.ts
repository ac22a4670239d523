import { newId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/log.ts';
import { extendLeases } from '../queries/extend-leases.ts';
import { insertOutage } from '../queries/insert-outage.ts';
import type { Moment } from '../queries/read-moment.ts';
import { touchAlive } from '../queries/touch-alive.ts';
import type { Executor } from '../schema.ts';

/**
 * Time in which the service itself was down does not count against leases: the first transaction after an outage records
 * it and lengthens every lease that lived when it began, before anything can expire. Sweeps keep the sign of life fresh.
 */
export async function forgiveOutage(
  db: Executor,
  moment: Moment,
  outageSeconds: number,
  log: Logger,
): Promise<void> {
  const gapMs = moment.atMs - moment.aliveMs;
  if (moment.aliveMs === 0 || gapMs <= outageSeconds * 1000) return;
  if (!(await touchAlive(db, moment.aliveMs, moment.atMs))) return;
  await insertOutage(db, { outage_id: newId(), from_ms: moment.aliveMs, to_ms: moment.atMs });
  await extendLeases(db, moment.aliveMs, gapMs);
  log.warn({ fromMs: moment.aliveMs, seconds: gapMs / 1000 }, 'service was down; leases lengthened');
}
