import type { ServerConfig } from '../config/schema.ts';
import { insertQueue } from '../queries/insert-queue.ts';
import { listQueues } from '../queries/list-queues.ts';
import { updateQueue } from '../queries/update-queue.ts';
import { serverError } from '../errors.ts';
import type { QueueRow } from '../schema.ts';
import type { Trx } from './context.ts';

/**
 * Makes the queues of the database those of the configuration. A queue that is no longer named is retired: its pilots
 * drain, its rows stay.
 *
 * @throws E_CONFIG_INVALID for a queue that belonged to another VO: its waiting jobs would run under the new one's pilots.
 */
export async function syncQueues(trx: Trx, queues: ServerConfig['queues']): Promise<void> {
  const known = new Map((await listQueues(trx)).map(row => [row.name, row]));
  for (const queue of queues) {
    refuseOtherVo(queue, known.get(queue.name));
    const row: QueueRow = {
      name: queue.name,
      vo: queue.vo,
      max_pilots: queue.maxPilots,
      allow_containment: JSON.stringify(queue.allowContainment),
      labels: JSON.stringify(queue.labels),
      retired: 0,
    };
    if (known.has(queue.name) || !(await insertQueue(trx, row))) await updateQueue(trx, row);
    known.delete(queue.name);
  }
  for (const row of known.values()) await updateQueue(trx, { ...row, retired: 1 });
}

function refuseOtherVo(queue: ServerConfig['queues'][number], known: QueueRow | undefined): void {
  if (known === undefined || known.vo === queue.vo) return;
  throw serverError({
    code: 'E_CONFIG_INVALID',
    message: `The queue "${queue.name}" belongs to another VO in the database.`,
    where: `queues, ${queue.name}, vo`,
    expected: known.vo,
    found: queue.vo,
    fix: 'Give the new VO a queue of its own; take the old name out of the configuration to drain it.',
  });
}
