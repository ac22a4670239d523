import { buildVersion } from '../../lib/build-version.ts';
import { newId } from '../../lib/ids.ts';
import { wireError } from '../../lib/problem.ts';
import { PROTOCOL_VERSION } from '../../lib/protocol.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { JobDefinition, Lease } from '../../lib/protocol/job.ts';
import type { PilotCaller } from '../policy/caller.ts';
import { countOlderPilots } from '../queries/count-older-pilots.ts';
import { countPilots } from '../queries/count-pilots.ts';
import { countRefusals } from '../queries/count-refusals.ts';
import { extendAttemptLease } from '../queries/extend-attempt-lease.ts';
import { findAttempt } from '../queries/find-attempt.ts';
import { findCandidates } from '../queries/find-candidates.ts';
import type { Offer } from '../queries/find-candidates.ts';
import { findJob } from '../queries/find-job.ts';
import { findPilot } from '../queries/find-pilot.ts';
import { findQueue } from '../queries/find-queue.ts';
import { findUnheardAttempt } from '../queries/find-unheard-attempt.ts';
import { insertAttempt } from '../queries/insert-attempt.ts';
import type { Moment } from '../queries/read-moment.ts';
import { updatePilotRefusals } from '../queries/update-pilot-refusals.ts';
import type { AttemptRow, JobRow, PilotRow, QueueRow } from '../schema.ts';
import { toMs } from './context.ts';
import type { ServerContext, Trx } from './context.ts';
import { requirePilotPlace } from './fencing.ts';
import { moveJob } from './move-job.ts';
import { once } from './once.ts';
import { nextPandaId } from './panda-id.ts';
import { revokedRelease } from './revoked-release.ts';
import { storableText } from './storable-text.ts';

export interface Acquired {
  lease: Lease | null;
  drain: boolean;
  /** Why it is to end. */
  drainBecause: DrainReason | null;
  refusals: { predicate: string; jobs: number }[];
  retrySeconds: number;
}

type DrainReason = 'queue-retired' | 'cap-lowered' | 'release-revoked';

/** How often a waiting call looks for jobs that another server made available. */
const POLL_MILLISECONDS = 220;
const CANDIDATES = 16;

/**
 * Gives a pilot the most urgent job it can run, with a lease; waits up to `waitSeconds` for one. The same key gives the
 * same lease again, and so does a new key while the pilot holds a lease that it never used, as its answer was lost.
 *
 * @param signal aborts the wait when the caller is gone or the server drains.
 * @throws E_FENCED, E_PILOT_TOO_OLD.
 */
export async function acquireJob(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  body: ParsedBody<'acquire'>,
  signal: AbortSignal,
): Promise<Acquired> {
  requireProtocol(body.protocol);
  const { settings, database, wakeup } = context;
  const waitMs =
    wakeup.waiting >= settings.limits.waitingCalls
      ? 0
      : toMs(Math.min(body.waitSeconds, settings.limits.waitSeconds, settings.pilotLeaseSeconds / 2));
  const deadline = performance.now() + waitMs;
  let found = await claim(context, caller, key, body);
  while (found.lease === null && !found.drainBecause && !signal.aborted) {
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) break;
    await wakeup.wait(found.pilot.queue, Math.min(leftMs, POLL_MILLISECONDS), signal);
    if (signal.aborted) break;
    if (!found.containmentAllowed) continue;
    const [candidate] = await findCandidates(database.db, offerOf(found.pilot, body), 1);
    if (candidate !== undefined) found = await claim(context, caller, key, body);
  }
  const { lease, drainBecause, pilot } = found;
  const drain = drainBecause !== null;
  const refusals = lease === null ? await recordRefusals(context, found, body, pilot) : [];
  const retrySeconds = lease === null && !drain ? settings.retrySeconds : 0;
  return { lease, drain, drainBecause, refusals, retrySeconds };
}

/** @throws E_PILOT_TOO_OLD for a protocol that is no longer spoken. */
export function requireProtocol(protocol: number): void {
  if (protocol >= PROTOCOL_VERSION) return;
  throw wireError('E_PILOT_TOO_OLD', 'This server no longer speaks the protocol of this pilot.', {
    where: 'body.protocol',
    rule: 'protocol-served',
    expected: `${PROTOCOL_VERSION}`,
    found: `${protocol}`,
    fix: "Promote a newer pilot release on the queue's channel.",
  });
}

interface Claimed {
  lease: Lease | null;
  drainBecause: DrainReason | null;
  pilot: PilotRow;
  queue: QueueRow;
  containmentAllowed: boolean;
}

function claim(
  context: ServerContext,
  caller: PilotCaller,
  key: string,
  body: ParsedBody<'acquire'>,
): Promise<Claimed> {
  return once<Claimed>(
    context,
    { caller: caller.name, route: 'acquire', key, request: body },
    async (trx, moment) => {
      await requirePilotPlace(context, trx, caller, moment);
      const base = await situation(context, trx, caller, body);
      if (base.drainBecause) return { ...base, lease: null };
      const unheard = await findUnheardAttempt(trx, caller.pilotId);
      if (unheard && (await extendAttemptLease(trx, unheard.attempt_id, leaseUntilMs(context, moment)))) {
        return { ...base, lease: await leaseOf(context, trx, unheard) };
      }
      if (!base.containmentAllowed) return { ...base, lease: null };
      return { ...base, lease: await claimOne(context, trx, base.pilot, body, moment) };
    },
    {
      store: ({ lease }) => (lease === null ? undefined : { attemptId: lease.attemptId }),
      restore: async ({ attemptId }: { attemptId: string }, trx, moment) => {
        const attempt = await findAttempt(trx, attemptId);
        if (!attempt) throw new Error(`attempt ${attemptId} is gone`);
        await extendAttemptLease(trx, attemptId, leaseUntilMs(context, moment));
        return {
          ...(await situation(context, trx, caller, body)),
          drainBecause: null,
          lease: await leaseOf(context, trx, attempt),
        };
      },
    },
  );
}

/** The pilot, its queue, and whether it is to end: a revoked release, no cap, or a lowered one and others are older. */
async function situation(
  context: ServerContext,
  trx: Trx,
  caller: PilotCaller,
  { release, containment }: ParsedBody<'acquire'>,
) {
  const pilot = await findPilot(trx, caller.pilotId);
  const queue = pilot && (await findQueue(trx, pilot.queue));
  if (!pilot || !queue) throw new Error(`pilot ${caller.pilotId} has no queue`);
  const { working } = await countPilots(trx, queue.name, 0);
  let drainBecause: DrainReason | null = null;
  if (revokedRelease(context, pilot, release)) drainBecause = 'release-revoked';
  else if (queue.retired !== 0) drainBecause = 'queue-retired';
  else if (working > queue.max_pilots && (await countOlderPilots(trx, pilot)) >= queue.max_pilots)
    drainBecause = 'cap-lowered';
  const containmentAllowed = (JSON.parse(queue.allow_containment) as string[]).includes(containment);
  return { pilot, queue, drainBecause, containmentAllowed };
}

async function claimOne(
  context: ServerContext,
  trx: Trx,
  pilot: PilotRow,
  body: ParsedBody<'acquire'>,
  moment: Moment,
): Promise<Lease | null> {
  for (const jobId of await findCandidates(trx, offerOf(pilot, body), CANDIDATES)) {
    const seen = await findJob(trx, jobId);
    if (seen?.state !== 'activated') continue;
    const attemptId = newId();
    const job = await moveJob(trx, seen, {
      to: 'sent',
      atMs: moment.atMs,
      actor: `pilot ${pilot.pilot_id}`,
      note: `attempt ${seen.attempts + 1} on ${body.node}`,
      change: { attempts: seen.attempts + 1, current_attempt_id: attemptId },
    });
    if (!job) continue;
    const attempt = await newAttempt(context, trx, { job, attemptId, pilot, body, moment });
    await insertAttempt(trx, attempt);
    return leaseFor(context, attempt, job);
  }
  return null;
}

/** The answer says how long a lease holds from now; so it holds as long when the answer is given again. */
const leaseUntilMs = ({ settings }: ServerContext, moment: Moment): number =>
  moment.atMs + toMs(settings.leaseSeconds);

async function newAttempt(
  context: ServerContext,
  trx: Trx,
  parts: {
    job: JobRow;
    attemptId: string;
    pilot: PilotRow;
    body: ParsedBody<'acquire'>;
    moment: Moment;
  },
): Promise<AttemptRow> {
  const { job, attemptId, pilot, body, moment } = parts;
  return {
    attempt_id: attemptId,
    job_id: job.job_id,
    attempt_number: job.attempts,
    panda_id: await nextPandaId(trx, context.settings.pandaIds),
    pilot_id: pilot.pilot_id,
    vo: job.vo,
    queue: job.queue,
    node: storableText(body.node, 255),
    state: 'sent',
    containment: body.containment,
    incarnation: moment.incarnation,
    lease_until_ms: leaseUntilMs(context, moment),
    heartbeats: 0,
    release_json: body.release === null ? null : JSON.stringify(body.release),
    server_version: buildVersion,
    usage_json: null,
    outputs_json: '[]',
    cause_code: null,
    cause_text: null,
    receipt_json: null,
    result_sha256: null,
    result_accepted: null,
    result_job_state: null,
    tail_stdout: '',
    tail_stderr: '',
    started_ms: moment.atMs,
    ended_ms: null,
  };
}

async function leaseOf(context: ServerContext, trx: Trx, attempt: AttemptRow): Promise<Lease> {
  const job = await findJob(trx, attempt.job_id);
  if (!job) throw new Error(`attempt ${attempt.attempt_id} has no job`);
  return leaseFor(context, attempt, job);
}

const leaseFor = ({ settings }: ServerContext, attempt: AttemptRow, job: JobRow): Lease => ({
  jobId: job.job_id,
  attemptId: attempt.attempt_id,
  attemptNumber: attempt.attempt_number,
  pandaId: attempt.panda_id,
  incarnation: attempt.incarnation,
  leaseSeconds: settings.leaseSeconds,
  heartbeatSeconds: settings.heartbeatSeconds,
  definition: JSON.parse(job.definition) as JobDefinition,
  definitionSha256: job.definition_sha256,
});

const MAX_INTEGER = 2 ** 31 - 1;

const offerOf = (pilot: PilotRow, { labels, resources }: ParsedBody<'acquire'>): Offer => ({
  queue: pilot.queue,
  labels,
  cores: Math.min(resources.cores, MAX_INTEGER),
  memoryBytes: resources.memoryBytes,
  diskBytes: resources.diskBytes,
  wallSeconds: Math.floor(Math.min(resources.wallSecondsLeft, MAX_INTEGER)),
});

async function recordRefusals(
  context: ServerContext,
  found: Claimed,
  body: ParsedBody<'acquire'>,
  pilot: PilotRow,
): Promise<Acquired['refusals']> {
  const { db } = context.database;
  const { waiting, ...counts } = await countRefusals(db, pilot.vo, offerOf(pilot, body));
  const refusals = Object.entries({ ...counts, containment: found.containmentAllowed ? 0 : waiting })
    .filter(([, jobs]) => jobs > 0)
    .map(([predicate, jobs]) => ({ predicate, jobs }));
  if (JSON.stringify(refusals) !== pilot.refusals_json)
    await updatePilotRefusals(db, pilot.pilot_id, refusals);
  return refusals;
}
