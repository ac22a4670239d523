import { table } from '../table.ts';
import type { DemoLine } from './judge.ts';
import type { DemoResult } from './run-demo.ts';

/** The demo's result for a person: the table, what its lines prove, and what was wrong. */
export function showResult({ lines, ok, seconds, release, directory }: DemoResult): string {
  const rows = lines.map(line => [
    line.job,
    line.outcome,
    line.seconds.toFixed(1),
    line.wrong === null ? 'as it must be' : 'WRONG',
    line.pilot,
    line.cause,
  ]);
  return [
    '',
    table(['job', 'outcome', 'seconds', 'verdict', 'pilot release', 'cause'], rows),
    '',
    'What this proves:',
    ...proofs(lines).map(([jobs, proves]) => `  ${jobs}: ${proves}`),
    '',
    ...lines.filter(({ wrong }) => wrong !== null).map(({ job, wrong }) => `WRONG ${job}: ${wrong}`),
    `${ok ? 'Every line is as it must be' : 'Not every line is as it must be'}: ${lines.length} lines, pilot ${release.version} (sha256 ${release.sha256.slice(0, 16)}…), ${seconds.toFixed(1)} s.`,
    ...(directory === null ? [] : [`Everything is kept in ${directory}`]),
  ].join('\n');
}

/** Lines that prove the same are named together: the first and the last of them. */
function proofs(lines: readonly DemoLine[]): [string, string][] {
  const byProof = new Map<string, string[]>();
  for (const { job, proves } of lines) byProof.set(proves, [...(byProof.get(proves) ?? []), job]);
  return [...byProof].map(([proves, jobs]) => [
    jobs.length === 1 ? jobs[0]! : `${jobs[0]} to ${jobs.at(-1)}`,
    proves,
  ]);
}
