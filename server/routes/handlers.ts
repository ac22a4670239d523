import type { RouteName } from '../../lib/protocol.ts';
import { wireError } from '../../lib/problem.ts';
import { acquireJob } from '../logic/acquire-job.ts';
import { appendLog } from '../logic/append-log.ts';
import { commandJob } from '../logic/command-job.ts';
import { completeAttempt } from '../logic/complete-attempt.ts';
import { createSubmissions } from '../logic/create-submissions.ts';
import { demand } from '../logic/demand.ts';
import { enrolPilot } from '../logic/enrol-pilot.ts';
import { heartbeat } from '../logic/heartbeat.ts';
import { jobLogs } from '../logic/job-logs.ts';
import { killJob } from '../logic/kill-job.ts';
import { leavePilot } from '../logic/leave-pilot.ts';
import { listJobs } from '../logic/list-jobs.ts';
import { listSubmissions } from '../logic/list-submissions.ts';
import { payloadCredential } from '../logic/payload-credential.ts';
import { renewPilot } from '../logic/renew-pilot.ts';
import { runningReleases } from '../logic/running-releases.ts';
import { showJob } from '../logic/show-job.ts';
import { showReceipt } from '../logic/show-receipt.ts';
import { submitJobs } from '../logic/submit-jobs.ts';
import { withdrawSubmissions } from '../logic/withdraw-submissions.ts';
import type { Caller, UserCaller } from '../policy/caller.ts';
import { asPilot, asUser } from './call.ts';
import type { Handler } from './call.ts';

/** Every route of the contract and the verb behind it. */
export const handlers: { [N in RouteName]: Handler<N> } = {
  submit: ({ context, caller, key, body }) => submitJobs(context, asUser(caller), key, body),
  listJobs: ({ context, caller, query }) => listJobs(context, listReader(caller), query),
  showJob: ({ context, caller, params }) => showJob(context, caller, params.jobId),
  jobLogs: ({ context, caller, params, query }) => jobLogs(context, caller, params.jobId, query.attemptId),
  killJob: ({ context, caller, key, params, body }) =>
    killJob(context, asUser(caller), key, params.jobId, body),
  commandJob: ({ context, caller, key, params, body }) =>
    commandJob(context, asUser(caller), key, params.jobId, body),
  demand: ({ context, caller, params }) => demand(context, asUser(caller), params.queue),
  releases: ({ context, caller }) => runningReleases(context, listReader(caller)),
  createSubmissions: ({ context, caller, key, params, body }) =>
    createSubmissions(context, asUser(caller), key, params.queue, body),
  listSubmissions: ({ context, caller, params, query }) =>
    listSubmissions(context, asUser(caller), params.queue, query),
  withdrawSubmissions: ({ context, caller, key, params, body }) =>
    withdrawSubmissions(context, asUser(caller), key, params.queue, body),
  enrol: ({ context, key, body }) => enrolPilot(context, key, body),
  renewPilot: ({ context, caller, key, body }) => renewPilot(context, asPilot(caller), key, body),
  acquire: ({ context, caller, key, body, signal }) =>
    acquireJob(context, asPilot(caller), key, body, signal),
  heartbeat: ({ context, caller, params, body }) =>
    heartbeat(context, asPilot(caller), params.attemptId, body),
  payloadCredential: ({ context, caller, key, params, body }) =>
    payloadCredential(context, asPilot(caller), key, params.attemptId, body),
  appendLog: ({ context, caller, params, body }) =>
    appendLog(context, asPilot(caller), params.attemptId, body),
  complete: ({ context, caller, key, params, body }) =>
    completeAttempt(context, asPilot(caller), key, params.attemptId, body),
  showReceipt: ({ context, caller, params }) => showReceipt(context, caller, params.attemptId),
  leavePilot: ({ context, caller, key, body }) => leavePilot(context, asPilot(caller), key, body),
  floors: async ({ context }) => ({ floors: context.releases.current() }),
};

/** @throws E_PAYLOAD_CREDENTIAL: payloads may read, but no lists. */
function listReader(caller: Caller): UserCaller {
  if (caller.kind !== 'payload') return asUser(caller);
  throw wireError('E_PAYLOAD_CREDENTIAL', 'A payload can read its own job, not lists.', {
    rule: 'payload-reads-own-job',
    found: caller.name,
    fix: 'Ask for the job by its id.',
  });
}
