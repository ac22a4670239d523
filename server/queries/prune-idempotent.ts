import type { Executor } from '../schema.ts';

/** Forgets stored replies older than `beforeMs`. */
export async function pruneIdempotent(db: Executor, beforeMs: number): Promise<number> {
  const result = await db.deleteFrom('idempotency').where('stored_ms', '<', beforeMs).executeTakeFirst();
  return Number(result.numDeletedRows);
}
