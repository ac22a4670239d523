import type { Executor, PilotRow } from '../schema.ts';

/** One pilot by id. */
export const findPilot = (db: Executor, pilotId: string): Promise<PilotRow | undefined> =>
  db.selectFrom('pilot').selectAll().where('pilot_id', '=', pilotId).executeTakeFirst();
