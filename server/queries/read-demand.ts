import { sql } from 'kysely';
import type { Executor } from '../schema.ts';

export interface DemandRow {
  activated: number;
  active: number;
  submissions_open: number;
  pilots_working: number;
  pilots_busy: number;
  pilots_ended: number;
  pilots_empty: number;
  pilots_lost: number;
  jobs_failed_by_site: number;
}

/** A queue's numbers in one statement, so that they are of one moment and add up. */
export function readDemand(
  db: Executor,
  queue: string,
  siteCauses: readonly string[],
  atMs: number,
  sinceMs: number,
): Promise<DemandRow> {
  const at = sql.lit(atMs);
  const since = sql.lit(sinceMs);
  const causes = sql.join(siteCauses.map(cause => sql`${cause}`));
  const number = (statement: ReturnType<typeof sql>) => sql<number>`(${statement})`;
  return db
    .selectNoFrom([
      number(sql`select count(*) from job where queue = ${queue} and state = 'activated'`).as('activated'),
      number(
        sql`select count(*) from job where queue = ${queue}
            and state in ('sent', 'starting', 'running', 'holding', 'transferring')`,
      ).as('active'),
      number(
        sql`select count(*) from submission where queue = ${queue} and state = 'open' and valid_until_ms >= ${at}`,
      ).as('submissions_open'),
      number(sql`select count(*) from pilot where queue = ${queue} and state = 'working'`).as(
        'pilots_working',
      ),
      number(
        sql`select count(*) from pilot p where p.queue = ${queue} and p.state = 'working'
            and exists (select 1 from attempt a where a.pilot_id = p.pilot_id and a.ended_ms is null)`,
      ).as('pilots_busy'),
      number(sql`select count(*) from pilot where queue = ${queue} and ended_ms >= ${since}`).as(
        'pilots_ended',
      ),
      number(
        sql`select count(*) from pilot where queue = ${queue} and ended_ms >= ${since} and jobs_done = 0`,
      ).as('pilots_empty'),
      number(
        sql`select count(*) from pilot where queue = ${queue} and ended_ms >= ${since} and state = 'lost'`,
      ).as('pilots_lost'),
      number(
        sql`select count(*) from attempt where queue = ${queue} and ended_ms >= ${since} and cause_code in (${causes})`,
      ).as('jobs_failed_by_site'),
    ])
    .executeTakeFirstOrThrow();
}
