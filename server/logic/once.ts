import { wireError } from '../../lib/problem.ts';
import { IDEMPOTENCY_HEADER } from '../../lib/protocol.ts';
import type { RouteName } from '../../lib/protocol.ts';
import { claimIdempotent } from '../queries/claim-idempotent.ts';
import { findIdempotent } from '../queries/find-idempotent.ts';
import { forgetIdempotent } from '../queries/forget-idempotent.ts';
import type { Moment } from '../queries/read-moment.ts';
import { storeReply } from '../queries/store-reply.ts';
import { canonicalSha256, sha256Hex } from './canonical-sha256.ts';
import { inTransaction } from './context.ts';
import type { ServerContext, Trx } from './context.ts';

export interface OnceRequest {
  caller: string;
  route: RouteName;
  /** The caller's idempotency key. */
  key: string;
  /** Everything that makes the request what it is. */
  request: unknown;
}

/** How a reply is kept without what may not be kept (secrets) or need not be (definitions). */
export interface ReplyStorage<Reply> {
  /** @returns what to keep as JSON; undefined where the reply had no effect and need not be repeated. */
  store: (reply: Reply) => unknown;
  restore: (stored: never, trx: Trx, moment: Moment) => Promise<Reply>;
}

/**
 * Runs a write at most once for an idempotency key: effect and reply are committed together, and the same key with the
 * same request gets the same reply again.
 *
 * @throws E_IDEMPOTENCY_CONFLICT where the key came before with another request; whatever `effect` throws.
 */
export async function once<Reply>(
  context: ServerContext,
  { caller, route, key, request }: OnceRequest,
  effect: (trx: Trx, moment: Moment) => Promise<Reply>,
  storage?: ReplyStorage<Reply>,
): Promise<Reply> {
  const keySha256 = sha256Hex(`${caller}\n${route}\n${key}`);
  const requestSha256 = canonicalSha256(request);
  return inTransaction(context, async (trx, moment) => {
    const row = { key_sha256: keySha256, request_sha256: requestSha256, reply: '', stored_ms: moment.atMs };
    if (!(await claimIdempotent(trx, row))) {
      const known = await findIdempotent(trx, keySha256);
      if (known?.request_sha256 !== requestSha256) throw conflict(key);
      const stored = JSON.parse(known.reply) as never;
      return storage ? storage.restore(stored, trx, moment) : stored;
    }
    const reply = await effect(trx, moment);
    const stored = storage ? storage.store(reply) : reply;
    if (stored === undefined) await forgetIdempotent(trx, keySha256);
    else await storeReply(trx, keySha256, JSON.stringify(stored));
    return reply;
  });
}

const conflict = (key: string) =>
  wireError('E_IDEMPOTENCY_CONFLICT', 'This idempotency key was used for another request.', {
    where: IDEMPOTENCY_HEADER,
    rule: 'one-key-one-request',
    found: key,
    fix: 'Make a new key for each new request, and keep it for repeats of the same one.',
  });
