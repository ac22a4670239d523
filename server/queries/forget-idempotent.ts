import type { Executor } from '../schema.ts';

/** Gives a key back, where the request had no effect worth repeating. */
export async function forgetIdempotent(db: Executor, keySha256: string): Promise<void> {
  await db.deleteFrom('idempotency').where('key_sha256', '=', keySha256).execute();
}
