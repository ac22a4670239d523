import type { Executor } from '../schema.ts';

/** Keeps the reply of the request that has this key. */
export async function storeReply(db: Executor, keySha256: string, reply: string): Promise<void> {
  await db.updateTable('idempotency').set({ reply }).where('key_sha256', '=', keySha256).execute();
}
