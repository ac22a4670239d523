import type { DialectSupport } from '../../dialect.ts';

export const insertIfAbsent: DialectSupport['insertIfAbsent'] = async (db, table, row, keyColumns) => {
  const { numInsertedOrUpdatedRows } = await db
    .insertInto(table)
    .values(row)
    .onConflict(conflict => conflict.columns([...keyColumns]).doNothing())
    .executeTakeFirstOrThrow();
  return numInsertedOrUpdatedRows === 1n;
};
