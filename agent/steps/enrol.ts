import { createApiClient } from '../../lib/api-client.ts';
import type { Clock } from '../../lib/clock.ts';
import { PilotageError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/log.ts';
import { PROTOCOL_VERSION } from '../../lib/protocol.ts';
import type { Bootstrap, ReleaseRef } from '../../lib/protocol/release.ts';
import { makeKey, requestCertificate } from '../pilot-key.ts';
import { agentError } from '../errors.ts';
import { PilotIdentity } from '../pilot-identity.ts';

const SKEW_WARNING_SECONDS = 30;

export interface EnrolOptions {
  bootstrap: Bootstrap;
  release: ReleaseRef | null;
  node: string;
  patienceSeconds: number;
  signal: AbortSignal;
  clock: Clock;
  log: Logger;
}

/**
 * Redeems the submission's one-time secret for the pilot's certificate. The key is made in memory and never leaves it;
 * the same key and request are shown until an answer comes, so that a lost reply costs nothing.
 *
 * @throws E_ENROLMENT_REFUSED when a server refuses for good; E_UNREACHABLE, E_TIMEOUT or the last wire code when none
 *   took it in time.
 */
export async function enrol(
  options: EnrolOptions,
): Promise<{ identity: PilotIdentity; pilotLeaseSeconds: number; clockSkewSeconds: number }> {
  const { bootstrap, clock, log } = options;
  const key = await makeKey();
  const api = createApiClient({ servers: bootstrap.servers, tls: { ca: bootstrap.serverCa }, clock, log });
  try {
    const started = clock.now();
    log.info({ sinceStartMs: Math.round(process.uptime() * 1000) }, 'enrolling');
    const reply = await api.call('enrol', {
      body: {
        protocol: PROTOCOL_VERSION,
        instance: bootstrap.instance,
        submissionId: bootstrap.submissionId,
        secret: bootstrap.secret,
        csr: requestCertificate(key, bootstrap.submissionId),
        node: options.node,
        release: options.release,
      },
      idempotencyKey: newId(),
      patienceSeconds: options.patienceSeconds,
      signal: options.signal,
    });
    const middle = (started + clock.now()) / 2;
    const clockSkewSeconds = Math.round(middle - reply.serverTimeMs) / 1000;
    if (Math.abs(clockSkewSeconds) > SKEW_WARNING_SECONDS) {
      log.warn({ clockSkewSeconds }, "this node's clock is wrong");
    }
    if (reply.instance !== bootstrap.instance) {
      throw agentError({
        code: 'E_ENROLMENT_REFUSED',
        message: 'The server belongs to another instance.',
        where: bootstrap.servers.join(', '),
        expected: bootstrap.instance,
        found: reply.instance,
        fix: 'Check the servers that the autopilot writes into bootstrap.json.',
      });
    }
    const identity = new PilotIdentity({
      ...reply,
      floors: reply.floors ?? bootstrap.floors,
      key,
      bootstrap,
      clock,
      log,
    });
    return { identity, pilotLeaseSeconds: reply.pilotLeaseSeconds, clockSkewSeconds };
  } catch (error) {
    throw refused(error);
  } finally {
    await api.close();
  }
}

const AGAIN_LATER = new Set([
  'E_UNREACHABLE',
  'E_TIMEOUT',
  'E_NOT_READY',
  'E_DRAINING',
  'E_OVERLOADED',
  'E_INTERNAL',
]);

function refused(error: unknown): unknown {
  if (
    !(error instanceof PilotageError) ||
    AGAIN_LATER.has(error.code) ||
    error.code === 'E_ENROLMENT_REFUSED'
  ) {
    return error;
  }
  return agentError({
    code: 'E_ENROLMENT_REFUSED',
    message: `The server refused the enrolment (${error.code}): ${error.message}`,
    ...(error.where !== undefined && { where: error.where }),
    ...(error.rule !== undefined && { rule: error.rule }),
    fix: error.fix ?? 'See the code; a secret can be redeemed once, in time, by one pilot.',
    cause: error,
  });
}
