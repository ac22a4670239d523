import type { RawBuilder } from 'kysely';
import type { Executor } from '../schema.ts';

/** The moment a transaction runs in. */
export interface Moment {
  /** The database's clock, epoch milliseconds: the only time that leases are judged by. */
  atMs: number;
  incarnation: string;
  /** When a server last showed that the service was alive. */
  aliveMs: number;
}

/** Clock, incarnation and last sign of life in one statement. */
export async function readMoment(db: Executor, nowMs: RawBuilder<number>): Promise<Moment> {
  const row = await db
    .selectFrom('service')
    .select(['incarnation', 'alive_ms', nowMs.as('at_ms')])
    .where('id', '=', 1)
    .executeTakeFirstOrThrow();
  return { atMs: row.at_ms, incarnation: row.incarnation, aliveMs: row.alive_ms };
}
