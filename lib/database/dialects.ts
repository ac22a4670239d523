import { MysqlAdapter, PostgresAdapter } from 'kysely';
import type { AnyKysely, DialectName, DialectSupport } from './dialect.ts';
import { mariadb } from './dialects/mariadb/dialect.ts';
import { postgres } from './dialects/postgres/dialect.ts';
import { sqlite } from './dialects/sqlite/dialect.ts';

export const dialects: Record<DialectName, DialectSupport> = { sqlite, postgres, mariadb };

/** The dialect that a handle or transaction speaks. */
export function dialectOf(db: AnyKysely): DialectSupport {
  const { adapter } = db.getExecutor();
  if (adapter instanceof PostgresAdapter) return postgres;
  return adapter instanceof MysqlAdapter ? mariadb : sqlite;
}
