import type { JobReport } from '../client/wait.ts';
import type { TamperedOutcome } from './tampered-pilot.ts';
import type { DemoJob } from './workload.ts';

/** One line of the demo's table. */
export interface DemoLine {
  job: string;
  outcome: string;
  cause: string;
  pilot: string;
  seconds: number;
  proves: string;
  /** What is wrong with it, or null. */
  wrong: string | null;
}

/** Holds a job's record against what the demo expects of it. */
export async function judgeJob(
  job: DemoJob,
  report: JobReport,
  release: { version: string; sha256: string },
): Promise<DemoLine> {
  const last = report.attempts.at(-1);
  const ran = last?.release;
  const wrong: string[] = [];
  if (report.job.state !== job.expect.state)
    wrong.push(`ended ${report.job.state}, expected ${job.expect.state}`);
  const cause = report.job.cause?.code;
  if (cause !== job.expect.cause)
    wrong.push(`cause ${cause ?? 'none'}, expected ${job.expect.cause ?? 'none'}`);
  if (ran?.version !== release.version || ran.sha256 !== release.sha256) {
    wrong.push(
      `ran pilot ${ran?.version ?? 'unknown'}, expected ${release.version} with sha256 ${release.sha256.slice(0, 12)}…`,
    );
  }
  const accepted = report.attempts.filter(
    ({ attemptId }) => attemptId === report.job.acceptedAttemptId,
  ).length;
  if (report.job.state === 'finished' && accepted !== 1)
    wrong.push(`${accepted} accepted results, expected 1`);
  if (wrong.length === 0) {
    const found = await job.check?.(report);
    if (found !== undefined) wrong.push(found);
  }
  return {
    job: report.job.name,
    outcome: report.job.state,
    cause: report.job.cause ? `${report.job.cause.code}: ${report.job.cause.text}` : '',
    pilot: ran ? `${ran.name} ${ran.version}` : '',
    seconds: last?.usage?.wallSeconds ?? 0,
    proves: job.proves,
    wrong: wrong.length === 0 ? null : wrong.join('; '),
  };
}

/** Holds the pilot that met the lying cache against what must happen to it. */
export function judgeTampered(outcome: TamperedOutcome): DemoLine {
  const { result } = outcome;
  const wrong: string[] = [];
  if (result.code !== 'E_TARGET_HASH') wrong.push(`ended with ${result.code}, expected E_TARGET_HASH`);
  if (outcome.exitCode !== 3) wrong.push(`exit code ${outcome.exitCode}, expected 3`);
  if (!result.cache?.startsWith(outcome.lyingCache))
    wrong.push(`blamed ${result.cache ?? 'nobody'}, expected ${outcome.lyingCache}`);
  if (outcome.unpacked) wrong.push('something of the pilot was unpacked');
  if (outcome.lies === 0) wrong.push('the cache was never asked for the pilot');
  return {
    job: '(tampered pilot)',
    outcome: wrong.length === 0 ? 'refused' : result.code,
    cause: `${result.code} from cache ${result.cache ?? 'unknown'}`,
    pilot: '',
    seconds: outcome.seconds,
    proves: 'a release changed on its way is refused before unpacking, and the cache is named',
    wrong: wrong.length === 0 ? null : wrong.join('; '),
  };
}
