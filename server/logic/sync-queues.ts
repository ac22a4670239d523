import type { ServerConfig } from '../config/schema.ts';
import { insertQueue } from '../queries/insert-queue.ts';
import { listQueues } from '../queries/list-queues.ts';
import { updateQueue } from '../queries/update-queue.ts';
import type { QueueRow } from '../schema.ts';
import type { Trx } from './context.ts';

/**
 * Makes the queues of the database those of the configuration. A queue that is no longer named is retired: its pilots
 * drain, its rows stay.
 */
export async function syncQueues(trx: Trx, queues: ServerConfig['queues']): Promise<void> {
  const known = new Map((await listQueues(trx)).map(row => [row.name, row]));
  for (const queue of queues) {
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
