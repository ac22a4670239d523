import type { CredentialRow, Executor } from '../schema.ts';

/** Remembers a key that a certificate of ours was issued for. */
export async function insertCredential(db: Executor, row: CredentialRow): Promise<void> {
  await db.insertInto('credential').values(row).execute();
}
