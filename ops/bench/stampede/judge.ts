import { table } from '../../table.ts';
import type { CrowdResult } from './crowd.ts';

export interface CacheOutcome {
  url: string;
  /** Most memory of each of its processes, those that answer and the one that watches them. */
  peakBytes: number[];
}

export interface Outcome {
  clients: number;
  megabytes: number;
  crowds: CrowdResult[];
  caches: CacheOutcome[];
  /** That answer, of each cache. */
  processes: number;
  /** How often the store sent the object. */
  sentByOrigin: number;
}

const MAX_BYTES = 300_000_000;

/** What did not hold, one sentence each; none when all did. */
export function judge(outcome: Outcome): string[] {
  const { crowds, caches, sentByOrigin, clients } = outcome;
  const failures: string[] = [];
  const failed = total(crowds, 'failed');
  if (failed > 0)
    failures.push(
      `${failed} clients failed: ${crowds
        .flatMap(crowd => crowd.failures)
        .slice(0, 3)
        .join('; ')}`,
    );
  const accounted = failed + total(crowds, 'complete') + total(crowds, 'left');
  if (accounted !== clients) failures.push(`${accounted} clients of ${clients} came back`);
  const processes = caches.length * outcome.processes;
  if (sentByOrigin > processes)
    failures.push(`the store sent the object ${sentByOrigin} times to ${processes} processes of caches`);
  for (const { url, peakBytes } of caches)
    for (const bytes of peakBytes)
      if (bytes > MAX_BYTES)
        failures.push(`a process of ${url} took ${megabytes(bytes)} of memory, not 300 MB`);
  return failures;
}

/** The same for people. */
export function summary(outcome: Outcome, failures: readonly string[]): string {
  const { crowds, caches, sentByOrigin } = outcome;
  const rows = [
    ['clients', `${outcome.clients}, each asking for ${outcome.megabytes} MB`],
    [
      'complete, every byte compared',
      `${total(crowds, 'complete')}, ${total(crowds, 'slow')} of them slow readers`,
    ],
    ['left in the middle on purpose', String(total(crowds, 'left'))],
    ['failed', String(total(crowds, 'failed'))],
    ['sent by the store', `${sentByOrigin} times`],
    ...caches.map(({ url, peakBytes }) => [`most memory, ${url}`, peakBytes.map(megabytes).join(', ')]),
    ['median client done after', `${median(crowds).toFixed(1)} s`],
    ['last client done after', `${Math.max(...crowds.map(crowd => crowd.secondsLast)).toFixed(1)} s`],
    ['bytes in all', `${(total(crowds, 'bytes') / 1e9).toFixed(1)} GB`],
  ];
  const verdict = failures.length === 0 ? 'All of it holds.' : `FAILED: ${failures.join('\nFAILED: ')}`;
  return `${table(['stampede', ''], rows)}\n\n${verdict}\n`;
}

const total = (crowds: readonly CrowdResult[], what: 'complete' | 'slow' | 'left' | 'failed' | 'bytes') =>
  crowds.reduce((sum, crowd) => sum + crowd[what], 0);

/** Of the processes' medians: they have as many clients each. */
const median = (crowds: readonly CrowdResult[]) =>
  crowds.reduce((sum, crowd) => sum + crowd.secondsMedian, 0) / crowds.length;

const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`;
