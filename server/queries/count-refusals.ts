import { sql } from 'kysely';
import type { Executor } from '../schema.ts';
import type { Offer } from './find-candidates.ts';

export interface RefusalCounts {
  /** Waiting jobs of the same VO in other queues. */
  queue: number;
  label: number;
  cores: number;
  memory: number;
  disk: number;
  walltime: number;
  /** All waiting jobs of the queue. */
  waiting: number;
}

/** For each predicate, how many waiting jobs it keeps from this offer; a job may count under several. */
export async function countRefusals(db: Executor, vo: string, offer: Offer): Promise<RefusalCounts> {
  const here = sql`queue = ${offer.queue}`;
  const count = (predicate: ReturnType<typeof sql>) =>
    sql<number | null>`sum(case when vo = ${vo} and ${predicate} then 1 else 0 end)`;
  const labels = sql.join(offer.labels.map(label => sql`${label}`));
  const row = await db
    .selectFrom('job')
    .select([
      count(sql`queue <> ${offer.queue}`).as('queue'),
      count(sql`${here} and label not in (${labels})`).as('label'),
      count(sql`${here} and cores > ${sql.lit(offer.cores)}`).as('cores'),
      count(sql`${here} and memory_bytes > ${sql.lit(offer.memoryBytes)}`).as('memory'),
      count(sql`${here} and disk_bytes > ${sql.lit(offer.diskBytes)}`).as('disk'),
      count(sql`${here} and wall_seconds > ${sql.lit(offer.wallSeconds)}`).as('walltime'),
      count(here).as('waiting'),
    ])
    // By queue, as the index of waiting jobs has it: by VO alone, every call without a job would read all jobs there ever were.
    .where('queue', 'in', db.selectFrom('queue').select('name').where('vo', '=', vo))
    .where('state', '=', 'activated')
    .executeTakeFirstOrThrow();
  return {
    queue: Number(row.queue),
    label: Number(row.label),
    cores: Number(row.cores),
    memory: Number(row.memory),
    disk: Number(row.disk),
    walltime: Number(row.walltime),
    waiting: Number(row.waiting),
  };
}
