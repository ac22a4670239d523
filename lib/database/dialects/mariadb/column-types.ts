import { sql } from 'kysely';
import type { ColumnType, ColumnTypes } from '../../dialect.ts';
import { nowMs } from './clock.ts';

/** By code point, and "no pad": trailing spaces count as they do elsewhere. */
const collation = sql`character set utf8mb4 collate utf8mb4_nopad_bin`;
const varchar = (maxCharacters: number): ColumnType => sql`varchar(${sql.lit(maxCharacters)}) ${collation}`;

export const columnTypes: ColumnTypes = {
  id: varchar(64),
  text: varchar(255),
  textOf: varchar,
  longText: sql`longtext ${collation}`,
  bytes: sql`longblob`,
  integer: sql`int`,
  bigint: sql`bigint`,
  epochMs: sql`bigint`,
  real: sql`double`,
  json: sql`longtext ${collation}`,
  bool: sql`tinyint`,
  nowMs,
};
