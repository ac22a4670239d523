import type { DatabaseSync } from 'node:sqlite';

export const markLogKept = (db: DatabaseSync, submissionId: string): void => {
  db.prepare('update pilot set log_kept = 1 where submission_id = ?').run(submissionId);
};
