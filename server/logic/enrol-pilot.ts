import { newId } from '../../lib/ids.ts';
import { wireError } from '../../lib/problem.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { Floors } from '../../lib/protocol/release.ts';
import { countPilots } from '../queries/count-pilots.ts';
import { findCredentials } from '../queries/find-credentials.ts';
import { findPilot } from '../queries/find-pilot.ts';
import { findSubmission } from '../queries/find-submission.ts';
import { insertCredential } from '../queries/insert-credential.ts';
import { insertPilot } from '../queries/insert-pilot.ts';
import { lockQueue } from '../queries/lock-queue.ts';
import type { Moment } from '../queries/read-moment.ts';
import { renewPilotLease } from '../queries/renew-pilot-lease.ts';
import { updateSubmissionState } from '../queries/update-submission-state.ts';
import type { QueueRow, SubmissionRow } from '../schema.ts';
import { requireProtocol } from './acquire-job.ts';
import { certifiedBefore } from './certify-key.ts';
import type { Certified } from './certify-key.ts';
import { toMs } from './context.ts';
import type { ServerContext, Trx } from './context.ts';
import { losePilots } from './lose-pilots.ts';
import { once } from './once.ts';
import { requireReleaseInForce } from './revoked-release.ts';
import { storableText } from './storable-text.ts';
import { isSecret } from './submission-secret.ts';

export interface Enrolled {
  pilotId: string;
  queue: string;
  certificateChain: string;
  validSeconds: number;
  pilotLeaseSeconds: number;
  incarnation: string;
  floors: Floors | null;
}

/**
 * Redeems a submission's one-time secret and a certificate request for a pilot's certificate, and takes a place under the
 * queue's cap: here, and only here, pilots are counted. Repeated with the same key it gives the same certificate.
 *
 * @throws E_INSTANCE, E_PILOT_TOO_OLD, E_SECRET_INVALID, E_SECRET_USED, E_RELEASE_REVOKED, E_SUBMISSION_GONE, E_PILOT_CAP,
 *   E_BAD_REQUEST.
 */
export async function enrolPilot(
  context: ServerContext,
  key: string,
  body: ParsedBody<'enrol'>,
): Promise<Enrolled> {
  if (body.instance !== context.settings.instance) {
    throw wireError('E_INSTANCE', 'This pilot belongs to another instance.', {
      where: 'body.instance',
      rule: 'one-instance',
      expected: context.settings.instance,
      found: body.instance,
      fix: 'Send the pilot to a server of its own instance.',
    });
  }
  requireProtocol(body.protocol);
  const { keySha256 } = await context.issuer.read(body.csr);
  const requeued = new Set<string>();
  const request = {
    caller: `submission ${body.submissionId}`,
    route: 'enrol' as const,
    key,
    request: { ...body, csr: keySha256 },
  };
  const reply = await once<Enrolled>(context, request, async (trx, moment) => {
    requeued.clear();
    const seen = await findSubmission(trx, body.submissionId);
    if (!seen || !isSecret(body.secret, seen.secret_sha256)) throw secretInvalid(body.submissionId);
    const queue = await lockQueue(trx, seen.queue);
    const submission = await findSubmission(trx, body.submissionId);
    if (!queue || !submission) throw new Error(`submission ${body.submissionId} has no queue`);
    requireReleaseInForce(context, queue.name, body.release);
    const again = await enrolledBefore(context, trx, submission, keySha256, moment);
    if (again) return again;
    requireOpen(submission, queue, moment);
    await requireUnknownKey(trx, keySha256);
    await takePlace(context, trx, queue, moment, requeued);
    return enrolNew(context, trx, submission, body, keySha256, moment);
  });
  for (const queue of requeued) context.wakeup.notify(queue);
  return reply;
}

const secretInvalid = (submissionId: string) =>
  wireError('E_SECRET_INVALID', 'The submission id and its secret do not belong together.', {
    where: `submission ${submissionId}`,
    rule: 'one-time-secret',
    fix: 'Use the bootstrap file that the autopilot made for this pilot.',
  });

const gone = (submissionId: string, why: string) =>
  wireError('E_SUBMISSION_GONE', `This submission can no longer be enrolled: ${why}.`, {
    where: `submission ${submissionId}`,
    rule: 'submission-open',
    fix: 'End; the autopilot makes new submissions where there is demand.',
  });

/** The same answer again for the key that enrolled; undefined where nobody did. */
async function enrolledBefore(
  context: ServerContext,
  trx: Trx,
  submission: SubmissionRow,
  keySha256: string,
  moment: Moment,
): Promise<Enrolled | undefined> {
  if (submission.pilot_id === null) return undefined;
  const pilot = await findPilot(trx, submission.pilot_id);
  if (pilot?.key_sha256 !== keySha256) {
    throw wireError('E_SECRET_USED', "The submission's secret was redeemed by another key.", {
      where: `submission ${submission.submission_id}`,
      rule: 'one-time-secret',
      fix: 'End; if no pilot of yours enrolled with it, somebody else read the secret.',
    });
  }
  const leaseUntilMs = moment.atMs + toMs(context.settings.pilotLeaseSeconds);
  if (!(await renewPilotLease(trx, pilot.pilot_id, moment.incarnation, leaseUntilMs))) {
    throw gone(submission.submission_id, 'its pilot has ended');
  }
  const [known] = await findCredentials(trx, [keySha256]);
  if (!known) throw new Error(`pilot ${pilot.pilot_id} has no credential`);
  return enrolled(context, submission, pilot.pilot_id, certifiedBefore(known, moment), moment);
}

function requireOpen(submission: SubmissionRow, queue: QueueRow, moment: Moment): void {
  const id = submission.submission_id;
  if (submission.incarnation !== moment.incarnation)
    throw gone(id, 'it is of another incarnation of the database');
  if (submission.state !== 'open') throw gone(id, `it is ${submission.state}`);
  if (submission.valid_until_ms < moment.atMs) throw gone(id, 'it is expired');
  if (queue.retired) throw gone(id, `the queue ${queue.name} is retired`);
}

async function requireUnknownKey(trx: Trx, keySha256: string): Promise<void> {
  if ((await findCredentials(trx, [keySha256])).length === 0) return;
  throw wireError('E_BAD_REQUEST', 'This key has a certificate of ours already.', {
    where: 'body.csr',
    rule: 'one-key-one-credential',
    fix: 'Make a new key for each pilot.',
  });
}

/** A place under the cap; places of pilots that were not heard of in time are taken first. @throws E_PILOT_CAP */
async function takePlace(
  context: ServerContext,
  trx: Trx,
  queue: QueueRow,
  moment: Moment,
  requeued: Set<string>,
): Promise<void> {
  const isFull = async () => (await countPilots(trx, queue.name, moment.atMs)).working >= queue.max_pilots;
  if (!(await isFull())) return;
  for (const name of await losePilots(context, trx, moment, { queue: queue.name, limit: 100 })) {
    requeued.add(name);
  }
  if (!(await isFull())) return;
  throw wireError('E_PILOT_CAP', `The queue ${queue.name} has as many working pilots as it may have.`, {
    where: `queue ${queue.name}`,
    rule: 'pilot-cap',
    expected: `fewer than ${queue.max_pilots} working pilots`,
    fix: 'Wait, or end; the cap is maxPilots of the queue.',
    retryAfterSeconds: Math.min(60, context.settings.pilotLeaseSeconds),
  });
}

async function enrolNew(
  context: ServerContext,
  trx: Trx,
  submission: SubmissionRow,
  body: ParsedBody<'enrol'>,
  keySha256: string,
  moment: Moment,
): Promise<Enrolled> {
  const { pilotCertificateSeconds, pilotLeaseSeconds } = context.settings;
  const pilotId = newId();
  const { chain: certificateChain, validSeconds } = await context.issuer.issue({
    csr: body.csr,
    commonName: `pilot ${pilotId}`,
    validSeconds: pilotCertificateSeconds,
  });
  await insertPilot(trx, {
    pilot_id: pilotId,
    submission_id: submission.submission_id,
    vo: submission.vo,
    queue: submission.queue,
    node: storableText(body.node, 255),
    state: 'working',
    key_sha256: keySha256,
    certificate_chain: certificateChain,
    release_json: body.release === null ? null : JSON.stringify(body.release),
    incarnation: moment.incarnation,
    lease_until_ms: moment.atMs + toMs(pilotLeaseSeconds),
    enrolled_ms: moment.atMs,
    ended_ms: null,
    end_reason: null,
    jobs_done: 0,
    refusals_json: '[]',
  });
  await insertCredential(trx, {
    key_sha256: keySha256,
    kind: 'pilot',
    pilot_id: pilotId,
    attempt_id: null,
    certificate_chain: certificateChain,
    issued_ms: moment.atMs,
    expires_ms: moment.atMs + toMs(validSeconds),
  });
  if (!(await updateSubmissionState(trx, submission.submission_id, 'open', 'enrolled', pilotId))) {
    throw gone(submission.submission_id, 'it expired just now');
  }
  return enrolled(context, submission, pilotId, { certificateChain, validSeconds }, moment);
}

const enrolled = (
  { settings, releases }: ServerContext,
  submission: SubmissionRow,
  pilotId: string,
  certified: Certified,
  { incarnation }: Moment,
): Enrolled => ({
  pilotId,
  queue: submission.queue,
  ...certified,
  pilotLeaseSeconds: settings.pilotLeaseSeconds,
  incarnation,
  floors: releases.current(),
});
