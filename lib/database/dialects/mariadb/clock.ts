import { sql } from 'kysely';

/** The server's clock at the start of the statement in epoch milliseconds; the session's time zone is UTC (connection.ts). */
export const nowMs = sql<number>`cast(unix_timestamp(now(3)) * 1000 as signed)`;
