import { classifyDatabaseError, isDatabaseUnreachable } from '../../lib/database/errors.ts';
import { wireError } from '../../lib/problem.ts';

/**
 * Runs a request's work; what the database cannot do now, callers are to ask for again: it is away, or others held what
 * was needed until the patience of the transaction ended.
 *
 * @throws E_NOT_READY; whatever else `work` throws.
 */
export async function databaseOr503<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const away = isDatabaseUnreachable(error);
    if (!away && classifyDatabaseError(error) !== 'try-again') throw error;
    throw wireError(
      'E_NOT_READY',
      away ? 'The database cannot be reached now.' : 'The database is too busy now.',
      {
        retryAfterSeconds: 2,
        fix: 'Nothing: repeat the request, with the same idempotency key.',
        cause: error,
      },
    );
  }
}
