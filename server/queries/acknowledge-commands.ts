import type { Executor } from '../schema.ts';

/** Marks commands as done by the pilot; only those of its own attempt. */
export async function acknowledgeCommands(
  db: Executor,
  attemptId: string,
  commandIds: readonly string[],
  atMs: number,
): Promise<void> {
  if (commandIds.length === 0) return;
  await db
    .updateTable('command')
    .set({ acknowledged_ms: atMs })
    .where('attempt_id', '=', attemptId)
    .where('command_id', 'in', commandIds)
    .where('acknowledged_ms', 'is', null)
    .execute();
}
