import type { CredentialRow, Executor } from '../schema.ts';

/** Which of these keys are ones we issued certificates for. */
export const findCredentials = async (
  db: Executor,
  keySha256s: readonly string[],
): Promise<CredentialRow[]> =>
  keySha256s.length === 0
    ? []
    : db.selectFrom('credential').selectAll().where('key_sha256', 'in', keySha256s).execute();
