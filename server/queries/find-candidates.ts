import type { Executor } from '../schema.ts';

/** What a pilot offers, as the claim compares it. */
export interface Offer {
  queue: string;
  labels: readonly string[];
  cores: number;
  memoryBytes: number;
  diskBytes: number;
  wallSeconds: number;
}

/** Ids of the jobs that fit an offer, first the most urgent, then the oldest. */
export async function findCandidates(db: Executor, offer: Offer, limit: number): Promise<string[]> {
  const rows = await db
    .selectFrom('job')
    .select('job_id')
    .where('queue', '=', offer.queue)
    .where('state', '=', 'activated')
    .where('label', 'in', offer.labels)
    .where('cores', '<=', offer.cores)
    .where('memory_bytes', '<=', offer.memoryBytes)
    .where('disk_bytes', '<=', offer.diskBytes)
    .where('wall_seconds', '<=', offer.wallSeconds)
    .orderBy('claim_rank')
    .orderBy('job_id')
    .limit(limit)
    .execute();
  return rows.map(row => row.job_id);
}
