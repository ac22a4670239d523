import type { DatabaseSync } from 'node:sqlite';

/** How many pilots of this ledger are in each state. */
export const countStates = (db: DatabaseSync): Record<string, number> =>
  Object.fromEntries(
    (
      db.prepare('select state, count(*) as pilots from pilot group by state order by state').all() as {
        state: string;
        pilots: number;
      }[]
    ).map(row => [row.state, row.pilots]),
  );
