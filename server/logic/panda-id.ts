import { insertIfAbsent } from '../../lib/database/insert-if-absent.ts';
import { nextCounter } from '../queries/next-counter.ts';
import type { ServerTables } from '../schema.ts';
import type { Settings, Trx } from './context.ts';

/** The counter of a shard's range; another range is another counter. */
const counterName = (range: Settings['pandaIds']): string => `panda-${range.first}`;

/** Makes the counter of integer attempt ids, once per range; at the start of a server. */
export async function ensurePandaCounter(trx: Trx, range: Settings['pandaIds']): Promise<void> {
  const row = { name: counterName(range), next_value: range.first };
  await insertIfAbsent<ServerTables, 'counter'>(trx, 'counter', row, ['name']);
}

/** The next integer attempt id (PanDA's PandaID) of this shard's range. Call late: its row serialises all acquires. */
export async function nextPandaId(trx: Trx, range: Settings['pandaIds']): Promise<number> {
  const value = await nextCounter(trx, counterName(range));
  if (value > range.last) throw new Error(`the range of integer attempt ids is used up at ${range.last}`);
  return value;
}
