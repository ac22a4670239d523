import type { DialectSupport } from '../../dialect.ts';
import { classifyError } from './errors.ts';

/**
 * A plain insert, whose failure leaves the transaction usable: `insert ignore` would hide other errors too, and with
 * `on duplicate key update` the count of rows does not tell an insert from an update. The row found after a failure
 * cannot go away meanwhile: the failed insert holds a shared lock on it until the transaction ends.
 */
export const insertIfAbsent: DialectSupport['insertIfAbsent'] = async (db, table, row, keyColumns) => {
  try {
    await db.insertInto(table).values(row).execute();
    return true;
  } catch (error) {
    if (classifyError(error) !== 'unique-violation') throw error;
    let sameKey = db.selectFrom(table).select(keyColumns[0]!);
    for (const column of keyColumns) sameKey = sameKey.where(column, '=', row[column]);
    if ((await sameKey.executeTakeFirst()) === undefined) throw error;
    return false;
  }
};
