import { sql } from 'kysely';

/** SQLite's clock in epoch milliseconds; the same value throughout one statement. */
export const nowMs = sql<number>`cast(round(unixepoch('subsec') * 1000) as integer)`;
