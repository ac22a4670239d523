import type { DatabaseSync } from 'node:sqlite';

/** What the server says became of a submission; writes only what changed. */
export function noteServerState(
  db: DatabaseSync,
  seen: { submissionId: string; state: string; jobsDone: number },
): void {
  db.prepare(
    `update pilot set server_state = ?, jobs_done = ?
     where submission_id = ? and (server_state is not ? or jobs_done is not ?)`,
  ).run(seen.state, seen.jobsDone, seen.submissionId, seen.state, seen.jobsDone);
}
