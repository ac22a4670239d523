import { wireError } from '../../lib/problem.ts';
import type { Action } from '../../lib/protocol.ts';
import { authorizeOn } from '../policy/authorize.ts';
import type { UserCaller } from '../policy/caller.ts';
import { findQueue } from '../queries/find-queue.ts';
import { lockQueue } from '../queries/lock-queue.ts';
import type { Executor, QueueRow } from '../schema.ts';

/**
 * A queue on which a user may do an action; `lock` makes it the caller's turn to count against its cap.
 *
 * @throws E_NOT_FOUND for queues of other VOs too; E_NOT_ALLOWED.
 */
export async function requireQueueFor(
  db: Executor,
  caller: UserCaller,
  action: Action,
  name: string,
  lock = false,
): Promise<QueueRow> {
  const queue = lock ? await lockQueue(db, name) : await findQueue(db, name);
  if (!queue || !caller.roles.has(queue.vo)) {
    throw wireError('E_NOT_FOUND', 'There is no such queue in your VOs.', {
      where: `queue ${name}`,
      rule: 'vo-isolation',
      fix: 'Check the name, and that you are a member of its VO.',
    });
  }
  authorizeOn(caller, action, { vo: queue.vo });
  return queue;
}
