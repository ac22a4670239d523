import { sql } from 'kysely';
import type { ColumnType, ColumnTypes } from '../../dialect.ts';
import { nowMs } from './clock.ts';

/** The collation "C" compares by code point, whatever the database's own locale is. */
const varchar = (maxCharacters: number): ColumnType => sql`varchar(${sql.lit(maxCharacters)}) collate "C"`;

export const columnTypes: ColumnTypes = {
  id: varchar(64),
  text: varchar(255),
  textOf: varchar,
  longText: sql`text collate "C"`,
  bytes: sql`bytea`,
  integer: sql`integer`,
  bigint: sql`bigint`,
  epochMs: sql`bigint`,
  real: sql`double precision`,
  json: sql`text collate "C"`,
  bool: sql`smallint`,
  nowMs,
};
