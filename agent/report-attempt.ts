import type { Logger } from '../lib/log.ts';
import type { RequestBody } from '../lib/protocol.ts';
import type { Cause, Lease } from '../lib/protocol/job.ts';
import type { ReleaseRef } from '../lib/protocol/release.ts';
import type { BoundedLog } from './bounded-log.ts';
import type { PilotContext, Work } from './pilot-context.ts';
import { signReceipt } from './receipt.ts';
import { offerResult } from './result-offer.ts';
import { resultsOf } from './sandbox.ts';
import { runStep } from './step.ts';
import { sendLogs } from './steps/send-logs.ts';
import { stopReasonOf } from './stop.ts';

/** What became of an attempt: as the server took it, or dropped because it is no longer ours. */
export type AttemptOutcome = RequestBody<'complete'>['outcome'] | 'dropped';

/** Tells the server how the attempt ended, unless it is no longer ours. */
export async function reportAttempt(context: {
  lease: Lease;
  pilot: PilotContext;
  log: Logger;
  stop: AbortSignal;
  logs: BoundedLog[];
  work: Work;
}): Promise<AttemptOutcome> {
  const { lease, pilot, log, stop, logs, work } = context;
  const reason = stopReasonOf(stop);
  if (reason?.kind === 'gone') return 'dropped';
  const api = () => pilot.identity.api;
  const [stdout, stderr] = logs;
  const outcome = outcomeOf(work.cause);
  const body: RequestBody<'complete'> = {
    incarnation: lease.incarnation,
    outcome,
    cause: work.cause,
    usage: work.usage,
    outputs: work.outputs,
    tail: { stdout: stdout?.tail() ?? '', stderr: stderr?.tail() ?? '' },
    release: pilot.release,
    ...(pilot.release !== null && { receipt: makeReceipt(lease, pilot, pilot.release, work, outcome) }),
  };
  const offered = await offerResult({
    api,
    renew: () => pilot.identity.renewIfDue(),
    sendLogs: async () => {
      if (!stdout || !stderr) return;
      await runStep('send-logs', { clock: pilot.clock, log, maxSeconds: 120, signal: pilot.hurry }, signal =>
        sendLogs({ api, lease, streams: { stdout, stderr }, signal }),
      );
    },
    attemptId: lease.attemptId,
    body,
    directory: resultsOf(pilot.sandbox),
    patienceSeconds: pilot.config.resultPatienceSeconds,
    stopping: pilot.stopping,
    hurry: pilot.hurry,
    clock: pilot.clock,
    log,
  });
  return offered.kind === 'accepted' ? outcome : 'dropped';
}

function outcomeOf(cause: Cause | null): RequestBody<'complete'>['outcome'] {
  if (cause === null) return 'finished';
  if (cause.code === 'PILOT_TERMINATED') return 'returned';
  return cause.code === 'KILLED' ? 'cancelled' : 'failed';
}

const makeReceipt = (lease: Lease, pilot: PilotContext, release: ReleaseRef, work: Work, outcome: string) =>
  signReceipt(
    {
      jobId: lease.jobId,
      attemptId: lease.attemptId,
      definitionSha256: lease.definitionSha256,
      release,
      inputs: work.inputs.map(({ name, sha256 }) => ({ name, sha256 })),
      outputs: work.outputs,
      usage: work.usage,
      outcome,
      cause: work.cause,
      containment: pilot.config.containment,
      node: pilot.node,
    },
    pilot.identity.key,
  );
