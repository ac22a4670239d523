import type { ApiClient } from '../../lib/api-client.ts';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import { isFinal } from '../../lib/job-states.ts';
import type { ReplyBody } from '../../lib/protocol.ts';

export type JobReport = ReplyBody<'showJob'>;

/**
 * Waits until every job is in a final state.
 *
 * @param options.onChange told each time a job's state was seen to change.
 * @param options.deadlineSeconds gives up then and returns what is known; the caller sees who is not final.
 */
export async function waitForJobs(
  client: ApiClient,
  jobIds: readonly string[],
  options: {
    deadlineSeconds: number;
    clock?: Clock;
    signal?: AbortSignal;
    onChange?: (job: JobReport) => void;
  },
): Promise<Map<string, JobReport>> {
  const clock = options.clock ?? systemClock;
  const started = clock.monotonic();
  const known = new Map<string, JobReport>();
  for (;;) {
    for (const jobId of jobIds) {
      const before = known.get(jobId);
      if (before && isFinal(before.job.state)) continue;
      const report = await client.call('showJob', {
        params: { jobId },
        ...(options.signal && { signal: options.signal }),
      });
      known.set(jobId, report);
      if (report.job.state !== before?.job.state) options.onChange?.(report);
    }
    const waiting = jobIds.some(jobId => !isFinal(known.get(jobId)!.job.state));
    if (!waiting || clock.monotonic() - started > options.deadlineSeconds * 1000) return known;
    await clock.sleep(300, options.signal);
  }
}
