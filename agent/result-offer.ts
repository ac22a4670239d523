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
  /** No server took it in time, or only an operator can; it stays in its file. */
  | { kind: 'kept'; file: string };

export interface OfferOptions {
  api: () => ApiClient;
  /** Renews the certificate when it is due. */
  renew: () => Promise<void>;
  /** Sends the logs; called before the result is, until it succeeds once or fails for good. */
  sendLogs: () => Promise<void>;
  attemptId: string;
  body: RequestBody<'complete'>;
  /** Where the result is kept meanwhile. */
  directory: string;
  patienceSeconds: number;
  /** Once aborted, at most 20 s are left. */
  stopping: AbortSignal;
  /** Once aborted, one short last try is made. */
  hurry: AbortSignal;
  clock: Clock;
  log: Logger;
}

const STOPPING_PATIENCE_MS = 20_000;
/** So often logs may fail at a server that is there; then the result goes without them. */
const MAX_LOG_FAILURES = 2;
const AWAY = new Set(['E_UNREACHABLE', 'E_NOT_READY', 'E_DRAINING', 'E_OVERLOADED', 'E_TOO_MANY_REQUESTS']);

/**
 * Offers the result of an attempt until a server has answered it. It is written to a file of the sandbox before it is
 * first sent, and removed only once it is answered; every repeat carries the same idempotency key.
 */
export async function offerResult(options: OfferOptions): Promise<Offered> {
  const { attemptId, body, clock, log, hurry, stopping } = options;
  const idempotencyKey = newId();
  const file = join(options.directory, `${attemptId}.json`);
  await keep(file, { attemptId, idempotencyKey, body }, log);
  let endsAt = clock.monotonic() + options.patienceSeconds * 1000;
  let stopSeenAt: number | undefined;
  let logsDone = false;
  let logsFailed = 0;
  for (let round = 0; ; round += 1) {
    if (stopping.aborted) {
      stopSeenAt ??= clock.monotonic();
      endsAt = Math.min(endsAt, stopSeenAt + STOPPING_PATIENCE_MS);
    }
    const lastTry = hurry.aborted || clock.monotonic() > endsAt;
    try {
      await options.renew();
      if (!logsDone && !hurry.aborted) {
        logsDone = await logsSent(
          options,
          lastTry || logsFailed >= MAX_LOG_FAILURES,
          () => (logsFailed += 1),
        );
      }
      const reply = await options.api().call('complete', {
        params: { attemptId },
        body,
        idempotencyKey,
        patienceSeconds: 0,
        timeoutSeconds: hurry.aborted ? 5 : 30,
      });
      await rm(file, { force: true });
      log.info({ outcome: body.outcome, cause: body.cause, jobState: reply.jobState }, 'result answered');
      return reply.accepted
        ? { kind: 'accepted', jobState: reply.jobState }
        : { kind: 'refused', code: 'not accepted' };
    } catch (error) {
      if (!mayGoBetterLater(error)) return refused(error, file, log);
      log.warn({ err: error, round }, 'result not taken');
      if (lastTry) return { kind: 'kept', file };
      const waitMs = Math.min(500 * 2 ** Math.min(round, 6), 30_000) * (0.75 + Math.random() * 0.5);
      await clock
        .sleep(waitMs, stopping.aborted ? hurry : AbortSignal.any([hurry, stopping]))
        .catch(() => undefined);
    }
  }
}

/** A full disk must not cost the result that says so: it is then kept in memory only. */
async function keep(file: string, content: object, log: Logger): Promise<void> {
  try {
    await ensureDirectory(join(file, '..'), 0o700);
    await writeFileAtomic(file, JSON.stringify(content), { mode: 0o600 });
  } catch (error) {
    log.error({ err: error }, 'the result could not be kept in a file');
  }
}

/** @returns true when they were sent, or never will be. @throws what may go better the next time. */
async function logsSent(options: OfferOptions, lastTry: boolean, onFailure: () => void): Promise<boolean> {
  try {
    await options.sendLogs();
  } catch (error) {
    if (!(error instanceof PilotageError && AWAY.has(error.code))) onFailure();
    if (!lastTry && mayGoBetterLater(error)) throw error;
    options.log.warn({ err: error }, 'logs not sent');
  }
  return true;
}

const LATER = new Set([
  'E_UNREACHABLE',
  'E_TIMEOUT',
  'E_PROTOCOL',
  'E_INTERNAL',
  'E_TOO_MANY_REQUESTS',
  'E_NOT_READY',
  'E_DRAINING',
  'E_OVERLOADED',
  'E_STEP_STUCK',
]);

const mayGoBetterLater = (error: unknown): boolean =>
  !(error instanceof PilotageError) || (!isGone(error) && LATER.has(error.code));

async function refused(error: unknown, file: string, log: Logger): Promise<Offered> {
  const { code, rule } = error as PilotageError;
  log.warn({ err: error }, 'result refused');
  // The server was restored or failed over: an operator can still accept what is kept.
  if (rule === 'database-incarnation') return { kind: 'kept', file };
  await rm(file, { force: true });
  return { kind: 'refused', code };
}
