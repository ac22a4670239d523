import { sql } from 'kysely';
import type { ColumnTypes } from '../../dialect.ts';
import { nowMs } from './clock.ts';

/** SQLite's default collation compares bytes of UTF-8, which is by code point. */
export const columnTypes: ColumnTypes = {
  id: sql`text`,
  text: sql`text`,
  textOf: () => sql`text`,
  longText: sql`text`,
  bytes: sql`blob`,
  integer: sql`integer`,
  bigint: sql`integer`,
  epochMs: sql`integer`,
  real: sql`real`,
  json: sql`text`,
  bool: sql`integer`,
  nowMs,
};
