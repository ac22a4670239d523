import { causeTable } from '../../lib/job-causes.ts';
import type { CauseCode } from '../../lib/job-causes.ts';
import type { AttemptView, JobView } from '../../lib/protocol/job.ts';
import type { ListedJob } from '../queries/list-jobs.ts';
import type { AttemptRow } from '../schema.ts';

/** A job as the wire shows it. */
export const jobView = (job: ListedJob): JobView => ({
  jobId: job.job_id,
  instance: job.instance,
  vo: job.vo,
  queue: job.queue,
  name: job.name,
  group: job.job_group,
  owner: job.owner,
  state: job.state as JobView['state'],
  cause: causeView(job),
  attempts: job.attempts,
  submittedMs: job.submitted_ms,
  changedMs: job.changed_ms,
  acceptedAttemptId: job.accepted_attempt_id,
});

function causeView(job: ListedJob): JobView['cause'] {
  if (job.cause_code === null) return null;
  const { owner, fix } = causeTable[job.cause_code as CauseCode];
  return { code: job.cause_code, text: job.cause_text ?? '', owner, fix };
}

const parsed = <T>(json: string | null): T | null => (json === null ? null : (JSON.parse(json) as T));

/** An attempt as the wire shows it. */
export const attemptView = (attempt: AttemptRow): AttemptView => ({
  attemptId: attempt.attempt_id,
  attemptNumber: attempt.attempt_number,
  pandaId: attempt.panda_id,
  pilotId: attempt.pilot_id,
  node: attempt.node,
  state: attempt.state as AttemptView['state'],
  containment: attempt.containment as AttemptView['containment'],
  release: parsed(attempt.release_json),
  serverVersion: attempt.server_version,
  usage: parsed(attempt.usage_json),
  outputs: JSON.parse(attempt.outputs_json) as AttemptView['outputs'],
  cause: attempt.cause_code === null ? null : { code: attempt.cause_code, text: attempt.cause_text ?? '' },
  startedMs: attempt.started_ms,
  endedMs: attempt.ended_ms,
});
