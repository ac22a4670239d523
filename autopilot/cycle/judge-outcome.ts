import type { EngineJob } from '../engines/engine.ts';
import type { PilotState } from '../ledger/pilot-states.ts';
import type { ResultLine } from './result-line.ts';

export interface Outcome {
  state: Extract<PilotState, 'done' | 'done_empty' | 'failed' | 'cancelled'>;
  note: string;
}

/**
 * What became of a pilot that the engine says has ended. The server comes first (it knows the jobs that were done), then
 * the wrapper's result line, then the exit code, which a batch system may get wrong.
 */
export function judgeOutcome(
  job: Pick<EngineJob, 'exitCode' | 'cancelled' | 'note'>,
  result: ResultLine | null,
  server: { state: string | null; jobsDone: number | null },
): Outcome {
  const jobsDone = server.jobsDone ?? 0;
  if (server.state === 'ended' && jobsDone > 0) {
    return { state: 'done', note: `the server counts ${jobsDone} job(s) done` };
  }
  if (job.cancelled) return { state: 'cancelled', note: `cancelled; ${job.note}` };
  if (result !== null && result.code !== 'ok') {
    return { state: 'failed', note: `${result.code}: ${result.message ?? 'no message'}` };
  }
  const exit = result?.exit ?? job.exitCode;
  if (exit !== 0) return { state: 'failed', note: job.note };
  if (jobsDone > 0) return { state: 'done', note: `the server counts ${jobsDone} job(s) done` };
  return { state: 'done_empty', note: 'it ended well and did no job' };
}
