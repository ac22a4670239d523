import type { DatabaseSync } from 'node:sqlite';

/** Counts complete looks at the engine that did not show a pilot it should have; 0 again when it is seen. */
export function noteMissing(db: DatabaseSync, submissionId: string, looks: number): void {
  db.prepare('update pilot set missing_looks = ? where submission_id = ? and missing_looks <> ?').run(
    looks,
    submissionId,
    looks,
  );
}
