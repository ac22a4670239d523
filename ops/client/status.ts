import type { ReplyBody } from '../../lib/protocol.ts';
import { table } from '../table.ts';
import type { JobReport } from './wait.ts';

const ago = (fromMs: number, nowMs: number): string => {
  const seconds = Math.max(0, Math.round((nowMs - fromMs) / 1000));
  return seconds < 120
    ? `${seconds} s`
    : seconds < 7200
      ? `${Math.round(seconds / 60)} min`
      : `${Math.round(seconds / 3600)} h`;
};

/** The list of jobs, as a person reads it. */
export function describeJobs({ jobs, nextCursor, serverTimeMs }: ReplyBody<'listJobs'>): string {
  if (jobs.length === 0) return 'No jobs.';
  const rows = jobs.map(job => [
    job.jobId,
    job.name,
    job.queue,
    job.state,
    String(job.attempts),
    ago(job.changedMs, serverTimeMs),
    job.cause ? `${job.cause.code}: ${job.cause.text}` : '',
  ]);
  const more = nextCursor === null ? '' : `\nMore with --cursor ${nextCursor}`;
  return table(['job', 'name', 'queue', 'state', 'attempts', 'since', 'cause'], rows) + more;
}

/** One job with its attempts and its history. */
export function describeJob({ job, attempts, events, serverTimeMs }: JobReport): string {
  const lines = [
    `${job.name} (${job.jobId})`,
    `  state    ${job.state}, for ${ago(job.changedMs, serverTimeMs)}`,
    `  queue    ${job.queue}, VO ${job.vo}`,
    `  owner    ${job.owner}`,
  ];
  if (job.cause)
    lines.push(
      `  cause    ${job.cause.code} (${job.cause.owner}): ${job.cause.text}`,
      `  fix      ${job.cause.fix}`,
    );
  for (const attempt of attempts) {
    const release = attempt.release
      ? `${attempt.release.name} ${attempt.release.version}`
      : 'unknown release';
    const contained = attempt.containment === 'none' ? 'not contained' : attempt.containment;
    lines.push(
      `  attempt ${attempt.attemptNumber}  ${attempt.state} on ${attempt.node}, ${release}, ${contained}, PandaID ${attempt.pandaId}`,
    );
    if (attempt.serverVersion !== null) lines.push(`    given out by server ${attempt.serverVersion}`);
    for (const output of attempt.outputs)
      lines.push(`    output ${output.name} ${output.bytes} bytes ${output.url}`);
  }
  const started = events[0]?.atMs ?? 0;
  for (const event of events) {
    const after = ((event.atMs - started) / 1000).toFixed(1).padStart(8);
    lines.push(`  ${after} s  ${event.from ?? 'new'} -> ${event.to}  ${event.note}`.trimEnd());
  }
  return lines.join('\n');
}

/** Which releases pilots run now, and how many. */
export function describeReleases({ releases }: ReplyBody<'releases'>): string {
  if (releases.length === 0) return 'No pilots work now.';
  const rows = releases.map(({ version, channel, queue, pilots, standing }) => [
    version ?? 'not started by a wrapper',
    channel ?? '',
    queue,
    String(pilots),
    standing,
  ]);
  return table(['version', 'channel', 'queue', 'pilots', 'standing'], rows);
}
