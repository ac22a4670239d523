import type { ApiClient } from '../../lib/api-client.ts';
import { writeFileAtomic } from '../../lib/files.ts';
import type { Lease } from '../../lib/protocol/job.ts';
import { keyPem, makeKey, requestCertificate } from '../pilot-key.ts';

/**
 * Gets the payload a credential of its own, onto a key made here, bound to its attempt; it can submit nothing. The file
 * has the order of a grid proxy: certificate, key, the rest of the chain; mode 0600.
 *
 * @returns for how many seconds it is valid.
 * @throws the wire code of a refusal; E_FENCED and E_JOB_GONE when the attempt is no longer ours.
 */
export async function fetchPayloadCredential(options: {
  api: ApiClient;
  lease: Pick<Lease, 'attemptId' | 'incarnation'>;
  file: string;
  signal: AbortSignal;
}): Promise<number> {
  const { attemptId, incarnation } = options.lease;
  const key = await makeKey();
  const reply = await options.api.call('payloadCredential', {
    params: { attemptId },
    body: { incarnation, csr: requestCertificate(key, attemptId) },
    signal: options.signal,
    patienceSeconds: 60,
  });
  const blocks =
    reply.certificateChain.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\n?/g) ?? [];
  const [leaf = reply.certificateChain, ...rest] = blocks.map(block => `${block.trimEnd()}\n`);
  await writeFileAtomic(options.file, [leaf, keyPem(key), ...rest].join(''), { mode: 0o600 });
  return reply.validSeconds;
}
