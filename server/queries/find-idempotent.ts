import type { Executor, ServerTables } from '../schema.ts';

/** The reply that was stored under a key. */
export const findIdempotent = (
  db: Executor,
  keySha256: string,
): Promise<ServerTables['idempotency'] | undefined> =>
  db.selectFrom('idempotency').selectAll().where('key_sha256', '=', keySha256).executeTakeFirst();
