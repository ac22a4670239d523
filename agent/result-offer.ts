import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../lib/api-client.ts';
import type { Clock } from '../lib/clock.ts';
import { PilotageError } from '../lib/errors.ts';
import { ensureDirectory, writeFileAtomic } from '../lib/files.ts';
import { newId } from '../lib/ids.ts';
import type { Logger } from '../lib/log.ts';
import type { RequestBody } from '../lib/protocol.ts';
import { isGone } from './heartbeats.ts';

export type Offered =
  | { kind: 'accepted'; jobState: string }
  /** The server has decided otherwise: the attempt was replaced, or the result refused. */
  | { kind: 'refused'; code: string }
  /** No server took it in time; it stays in its file. */
  | { kind: 'kept'; file: string };

/**
 * Offers the result of an attempt until a server has answered it. It is written to a file of the sandbox before it is
 * first sent, and removed only once it is answered; every repeat carries the same idempotency key.
 *
 * @param options.hurry once aborted, one short last try is made.
 */
export async function offerResult(options: {
  api: () => ApiClient;
  renew: () => Promise<void>;
  attemptId: string;
  body: RequestBody<'complete'>;
  directory: string;
  patienceSeconds: number;
  hurry: AbortSignal;
  clock: Clock;
  log: Logger;
}): Promise<Offered> {
  const { attemptId, body, clock, log } = options;
  const idempotencyKey = newId();
  const file = join(options.directory, `${attemptId}.json`);
  await ensureDirectory(options.directory, 0o700);
  // A full disk must not cost the result that says so.
  await writeFileAtomic(file, JSON.stringify({ attemptId, idempotencyKey, body }), { mode: 0o600 }).catch(
    (error: unknown) => log.error({ err: error }, 'the result could not be kept'),
  );
  const started = clock.monotonic();
  for (let round = 0; ; round += 1) {
    const lastTry = options.hurry.aborted || clock.monotonic() - started > options.patienceSeconds * 1000;
    try {
      await options.renew();
      const reply = await options.api().call('complete', {
        params: { attemptId },
        body,
        idempotencyKey,
        patienceSeconds: 0,
        timeoutSeconds: options.hurry.aborted ? 5 : 30,
      });
      await rm(file, { force: true });
      log.info({ outcome: body.outcome, cause: body.cause, jobState: reply.jobState }, 'result answered');
      return reply.accepted
        ? { kind: 'accepted', jobState: reply.jobState }
        : { kind: 'refused', code: 'not accepted' };
    } catch (error) {
      if (isFinal(error)) {
        log.warn({ err: error }, 'result refused');
        await rm(file, { force: true });
        return { kind: 'refused', code: error.code };
      }
      log.warn({ err: error, round }, 'result not taken');
      if (lastTry) return { kind: 'kept', file };
      const waitMs = Math.min(500 * 2 ** Math.min(round, 6), 30_000) * (0.75 + Math.random() * 0.5);
      await clock.sleep(waitMs, options.hurry).catch(() => undefined);
    }
  }
}

const AGAIN = new Set(['E_UNREACHABLE', 'E_TIMEOUT', 'E_PROTOCOL', 'E_INTERNAL', 'E_TOO_MANY_REQUESTS']);

function isFinal(error: unknown): error is PilotageError {
  if (isGone(error)) return true;
  if (!(error instanceof PilotageError)) return false;
  return !AGAIN.has(error.code) && !/^E_(NOT_READY|DRAINING|OVERLOADED)$/.test(error.code);
}
