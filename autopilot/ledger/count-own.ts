import type { DatabaseSync } from 'node:sqlite';
import type { OwnPilots } from '../plan/step.ts';

/**
 * What counts against the caps: every pilot not known to have ended, and the whole size of every request to the server
 * whose answer is not written yet.
 */
export function countOwn(db: DatabaseSync): Omit<OwnPilots, 'missing' | 'unresolved'> {
  const row = db
    .prepare(
      `select count(*) as live,
         sum(case when server_state is null or server_state = 'open' then 1 else 0 end) as waiting,
         sum(case when state in ('queued', 'running') then 1 else 0 end) as expected
       from pilot where state in ('intent', 'submitting', 'queued', 'running')`,
    )
    .get() as { live: number; waiting: number | null; expected: number | null };
  const asked = db.prepare("select sum(requested) as pilots from batch where state = 'asking'").get() as {
    pilots: number | null;
  };
  const asking = asked.pilots ?? 0;
  return {
    notEnded: row.live + asking,
    waiting: (row.waiting ?? 0) + asking,
    expected: row.expected ?? 0,
  };
}
