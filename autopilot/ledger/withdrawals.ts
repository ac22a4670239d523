import type { DatabaseSync } from 'node:sqlite';

/** Submissions to give back at the server: their pilots ended or never started, so nobody can use them any more. */
export const dueWithdrawals = (db: DatabaseSync, limit: number): string[] =>
  (
    db
      .prepare(`select submission_id as id from pilot where withdraw = 'due' order by submission_id limit ?`)
      .all(limit) as { id: string }[]
  ).map(row => row.id);

export function markWithdrawn(db: DatabaseSync, submissionIds: readonly string[]): void {
  const update = db.prepare("update pilot set withdraw = 'done' where submission_id = ?");
  for (const submissionId of submissionIds) update.run(submissionId);
}

/** Ended pilots whose submission the server has already used up or taken back need no withdrawal. */
export function settleUsed(db: DatabaseSync): void {
  db.exec(
    `update pilot set withdraw = 'done'
     where withdraw = 'due' and server_state in ('enrolled', 'ended', 'expired', 'withdrawn')`,
  );
}
