import { isUniqueViolation } from '../../lib/database/errors.ts';
import { newId } from '../../lib/ids.ts';
import { mayBecome } from '../../lib/job-states.ts';
import type { JobState } from '../../lib/job-states.ts';
import { wireError } from '../../lib/problem.ts';
import type { ParsedBody } from '../../lib/protocol.ts';
import type { JobDefinition } from '../../lib/protocol/job.ts';
import { authorizeOn } from '../policy/authorize.ts';
import type { UserCaller } from '../policy/caller.ts';
import { findJobsById } from '../queries/find-jobs-by-id.ts';
import { insertJobEvents } from '../queries/insert-job-events.ts';
import { insertJobs } from '../queries/insert-jobs.ts';
import { listQueues } from '../queries/list-queues.ts';
import type { Moment } from '../queries/read-moment.ts';
import type { JobRow, QueueRow } from '../schema.ts';
import { canonicalSha256 } from './canonical-sha256.ts';
import type { ServerContext, Trx } from './context.ts';
import { once } from './once.ts';
import { storableText } from './storable-text.ts';

interface SubmittedJob {
  jobId: string;
  definitionSha256: string;
  state: JobState;
}

/**
 * Submits jobs, all or none. A job id minted by the client makes the single job idempotent as well: the same id with the
 * same definition from the same owner is the same job.
 *
 * @throws E_NOT_IN_VO, E_NOT_ALLOWED, E_NOT_FOUND (queue), E_BAD_REQUEST, E_IDEMPOTENCY_CONFLICT.
 */
export async function submitJobs(
  context: ServerContext,
  caller: UserCaller,
  key: string,
  body: ParsedBody<'submit'>,
): Promise<{ jobs: SubmittedJob[] }> {
  for (const [index, { definition }] of body.jobs.entries()) {
    authorizeOn(caller, 'submit', { vo: definition.vo });
    checkDefinition(definition, `jobs[${index}].definition`);
  }
  const request = { caller: caller.name, route: 'submit' as const, key, request: body };
  const insert = async (trx: Trx, { atMs }: Moment) => {
    const queues = new Map((await listQueues(trx)).map(queue => [queue.name, queue]));
    body.jobs.forEach(({ definition }, index) =>
      checkQueue(definition, queues.get(definition.queue), `jobs[${index}].definition.queue`),
    );
    const rows = body.jobs.map(job => newJob(context, caller, job.jobId ?? newId(), job.definition, atMs));
    const known = new Map((await findJobsById(trx, namedIds(body))).map(job => [job.job_id, job]));
    const seen = new Set<string>();
    for (const row of rows) {
      const other = known.get(row.job_id);
      const same = other?.owner === row.owner && other.definition_sha256 === row.definition_sha256;
      if (seen.has(row.job_id) || (other && !same)) throw idTaken(row.job_id);
      seen.add(row.job_id);
    }
    const fresh = rows.filter(row => !known.has(row.job_id));
    await insertJobs(trx, fresh);
    await insertJobEvents(
      trx,
      fresh.flatMap(row => birth(row)),
    );
    return {
      jobs: rows.map(row => ({
        jobId: row.job_id,
        definitionSha256: row.definition_sha256,
        state: (known.get(row.job_id)?.state ?? row.state) as JobState,
      })),
    };
  };
  let reply: { jobs: SubmittedJob[] };
  try {
    reply = await once(context, request, insert);
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    // Another request with the same job ids was a little faster: now they are known.
    reply = await once(context, request, insert);
  }
  for (const queue of new Set(body.jobs.map(job => job.definition.queue))) context.wakeup.notify(queue);
  return reply;
}

const namedIds = (body: ParsedBody<'submit'>): string[] =>
  body.jobs.flatMap(job => (job.jobId === undefined ? [] : [job.jobId]));

function checkDefinition(definition: JobDefinition, where: string): void {
  if (definition.outputs.length > 0 && definition.outputUrl === undefined) {
    throw wireError('E_BAD_REQUEST', 'A job with outputs must say where they go.', {
      where: `${where}.outputUrl`,
      expected: 'a file:, http: or https: URL',
      fix: 'Set outputUrl, or declare no outputs.',
    });
  }
  for (const list of ['inputs', 'outputs'] as const) {
    const names = definition[list].map(file => file.name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice === undefined) continue;
    throw wireError('E_BAD_REQUEST', 'Two files of a job have the same name.', {
      where: `${where}.${list}`,
      found: twice,
      fix: 'Give each file its own name.',
    });
  }
}

function checkQueue(definition: JobDefinition, queue: QueueRow | undefined, where: string): void {
  if (!queue || queue.retired || queue.vo !== definition.vo) {
    throw wireError('E_NOT_FOUND', `The VO ${definition.vo} has no queue of this name.`, {
      where,
      rule: 'vo-isolation',
      found: definition.queue,
      fix: 'Name one of its queues.',
    });
  }
  const taken = JSON.parse(queue.labels) as string[];
  if (taken.includes(definition.label)) return;
  throw wireError('E_BAD_REQUEST', 'The queue takes no jobs of this label.', {
    where,
    expected: taken.join(', '),
    found: definition.label,
    fix: 'Choose another label or queue.',
  });
}

const idTaken = (jobId: string) =>
  wireError('E_IDEMPOTENCY_CONFLICT', 'This job id is taken by another job.', {
    where: 'jobs[].jobId',
    rule: 'one-id-one-job',
    found: jobId,
    fix: 'Mint a new id for each new job.',
  });

function newJob(
  context: ServerContext,
  caller: UserCaller,
  jobId: string,
  definition: JobDefinition,
  atMs: number,
): JobRow {
  return {
    job_id: jobId,
    instance: context.settings.instance,
    vo: definition.vo,
    queue: definition.queue,
    name: storableText(definition.name, 200),
    job_group: definition.group ?? null,
    owner: caller.name,
    label: definition.label,
    claim_rank: 1_000_000 - definition.priority,
    cores: definition.cores,
    memory_bytes: definition.limits.memoryBytes,
    disk_bytes: definition.limits.diskBytes,
    wall_seconds: definition.limits.wallSeconds,
    log_bytes: definition.limits.logBytes,
    max_attempts: definition.maxAttempts,
    state: 'activated',
    cause_code: null,
    cause_text: null,
    attempts: 0,
    tries: 0,
    current_attempt_id: null,
    accepted_attempt_id: null,
    kill_requested_ms: null,
    kill_reason: null,
    definition: JSON.stringify(definition),
    definition_sha256: canonicalSha256(definition),
    submitted_ms: atMs,
    changed_ms: atMs,
  };
}

/** A job is born defined and, as nothing has to be brought anywhere first, activated at once. */
function birth(row: JobRow) {
  if (!mayBecome('defined', 'activated')) throw new Error('the transition table forbids activation');
  const line = { job_id: row.job_id, at_ms: row.submitted_ms, actor: row.owner, note: '' };
  return [
    { ...line, event_id: newId(), from_state: null, to_state: 'defined' },
    { ...line, event_id: newId(), from_state: 'defined', to_state: 'activated' },
  ];
}
