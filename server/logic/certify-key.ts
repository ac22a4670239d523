import { wireError } from '../../lib/problem.ts';
import { findCredentials } from '../queries/find-credentials.ts';
import { insertCredential } from '../queries/insert-credential.ts';
import type { Moment } from '../queries/read-moment.ts';
import type { CredentialRow } from '../schema.ts';
import { toMs } from './context.ts';
import type { ServerContext, Trx } from './context.ts';

/** Whose key it is. */
export interface Holder {
  kind: 'pilot' | 'payload';
  pilotId: string;
  attemptId: string | null;
  commonName: string;
}

/** A certificate, and for how long it holds from now. */
export interface Certified {
  certificateChain: string;
  validSeconds: number;
}

/** The certificate that a key was given earlier. */
export const certifiedBefore = (known: CredentialRow, moment: Moment): Certified => ({
  certificateChain: known.certificate_chain,
  validSeconds: Math.max(0, Math.ceil((known.expires_ms - moment.atMs) / 1000)),
});

/**
 * Certifies a key and remembers it; the same key of the same holder gets the same certificate again, for what is left of
 * its time.
 *
 * @throws E_BAD_REQUEST for a key that has a certificate of another holder.
 */
export async function certifyKey(
  context: ServerContext,
  trx: Trx,
  holder: Holder,
  request: { csr: string; keySha256: string; validSeconds: number },
  moment: Moment,
): Promise<Certified> {
  const [known] = await findCredentials(trx, [request.keySha256]);
  if (known) {
    const same =
      known.kind === holder.kind &&
      known.pilot_id === holder.pilotId &&
      known.attempt_id === holder.attemptId;
    if (same) return certifiedBefore(known, moment);
    throw wireError('E_BAD_REQUEST', 'This key has a certificate of another holder.', {
      where: 'body.csr',
      rule: 'one-key-one-credential',
      fix: 'Make a new key for each credential.',
    });
  }
  const { csr, keySha256, validSeconds } = request;
  const issued = await context.issuer.issue({ csr, commonName: holder.commonName, validSeconds });
  await insertCredential(trx, {
    key_sha256: keySha256,
    kind: holder.kind,
    pilot_id: holder.pilotId,
    attempt_id: holder.attemptId,
    certificate_chain: issued.chain,
    issued_ms: moment.atMs,
    expires_ms: moment.atMs + toMs(issued.validSeconds),
  });
  return { certificateChain: issued.chain, validSeconds: issued.validSeconds };
}
