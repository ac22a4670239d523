import { claimSweep } from '../queries/claim-sweep.ts';
import { expireSubmissions } from '../queries/expire-submissions.ts';
import { listExpiredAttempts } from '../queries/list-expired-attempts.ts';
import { listExpiredPilots } from '../queries/list-expired-pilots.ts';
import { pruneIdempotent } from '../queries/prune-idempotent.ts';
import { touchAlive } from '../queries/touch-alive.ts';
import { inTransaction, toMs } from './context.ts';
import type { ServerContext } from './context.ts';
import { loseAttempt } from './lose-attempt.ts';
import { losePilot } from './lose-pilots.ts';

const BATCH = 200;

/**
 * One sweep: notes that the service is alive, and, when it is this server's turn, ends what ran out of its lease:
 * attempts (requeued or failed by rule), pilots, submissions; and forgets stored replies that are too old to be asked for.
 *
 * @returns how many attempts were lost.
 */
export async function expireLeases(context: ServerContext): Promise<{ attemptsLost: number }> {
  const { settings } = context;
  const turn = await inTransaction(context, async (trx, moment) => {
    await touchAlive(trx, moment.aliveMs, moment.atMs);
    const mine = await claimSweep(trx, moment.atMs - toMs(settings.sweepSeconds) / 2, moment.atMs);
    return mine ? listExpiredAttempts(trx, moment.atMs, BATCH) : undefined;
  });
  if (!turn) return { attemptsLost: 0 };
  const requeued = new Set<string>();
  let attemptsLost = 0;
  for (const ids of turn) {
    const log = context.log.child({ attemptId: ids.attempt_id, jobId: ids.job_id });
    try {
      const queue = await inTransaction(context, (trx, moment) =>
        loseAttempt(context, trx, ids, moment, { outcome: 'lost', actor: 'server', onlyIfOverdue: true }),
      );
      attemptsLost += 1;
      log.warn({ requeued: queue }, 'attempt lost');
      if (queue !== undefined) requeued.add(queue);
    } catch (error) {
      // One attempt that cannot be ended must not keep the others from it.
      log.error({ err: error }, 'attempt could not be ended');
    }
  }
  const silent = await inTransaction(context, (trx, { atMs }) =>
    listExpiredPilots(trx, { atMs, limit: BATCH }),
  );
  for (const pilot of silent) {
    try {
      const queues = await inTransaction(context, (trx, moment) => losePilot(context, trx, pilot, moment));
      for (const queue of queues) requeued.add(queue);
    } catch (error) {
      // Nor must one pilot.
      context.log.error({ err: error, pilotId: pilot.pilot_id }, 'pilot could not be ended');
    }
  }
  await inTransaction(context, async (trx, moment) => {
    await expireSubmissions(trx, moment.atMs);
    await pruneIdempotent(trx, moment.atMs - toMs(settings.idempotencySeconds));
  });
  for (const queue of requeued) context.wakeup.notify(queue);
  return { attemptsLost };
}
