import { sql } from 'kysely';

/**
 * The server's clock in epoch milliseconds, not the transaction's start. Inside a scalar subquery it is read once per
 * statement, so that a comparison with an indexed column can use the index.
 */
export const nowMs = sql<number>`(select floor(extract(epoch from clock_timestamp()) * 1000)::bigint)`;
