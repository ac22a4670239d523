import type { DatabaseSync } from 'node:sqlite';
import type { PlanReason } from '../plan/step.ts';

export interface CycleRecord {
  atMs: number;
  submitted: number;
  reasons: PlanReason[];
  problems: string[];
}

const KEPT_CYCLES = 1000;

/** Keeps what was decided and why, for `status`; the newest 1000. */
export function recordCycle(db: DatabaseSync, record: CycleRecord): void {
  const { lastInsertRowid } = db
    .prepare('insert into cycle (at_ms, submitted, reasons, problems) values (?, ?, ?, ?)')
    .run(record.atMs, record.submitted, JSON.stringify(record.reasons), JSON.stringify(record.problems));
  db.prepare('delete from cycle where seq <= ?').run(Number(lastInsertRowid) - KEPT_CYCLES);
}

export function lastCycle(db: DatabaseSync): CycleRecord | null {
  const row = db
    .prepare('select at_ms as atMs, submitted, reasons, problems from cycle order by seq desc limit 1')
    .get() as { atMs: number; submitted: number; reasons: string; problems: string } | undefined;
  if (row === undefined) return null;
  return {
    atMs: row.atMs,
    submitted: row.submitted,
    reasons: JSON.parse(row.reasons) as PlanReason[],
    problems: JSON.parse(row.problems) as string[],
  };
}
