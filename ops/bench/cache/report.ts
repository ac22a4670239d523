import { table } from '../../table.ts';
import type { Sample } from './measure.ts';

/** What is measured: which servers, taking turns in a round. */
export const cases = {
  hit1k: { title: '1 KiB from memory', servers: ['ours', 'squid', 'nginx'] },
  hit1m: {
    title: '1 MiB from memory (ours also from disk)',
    servers: ['ours', 'ours_disk', 'squid', 'nginx'],
  },
  two1k: { title: '1 KiB, two processes', servers: ['ours_two', 'squid_two', 'nginx_two'] },
  paced1k: { title: '1 KiB at a moderate rate', servers: ['ours', 'squid', 'nginx'] },
} as const;
export type Case = keyof typeof cases;
export type Server = (typeof cases)[Case]['servers'][number];
/** One sample for each round. */
export type Samples = Record<Case, Partial<Record<Server, Sample[]>>>;

interface Ratio {
  of: [Case, Server];
  to: [Case, Server];
  what: 'requestsPerCpuSecond' | 'p99Ms';
  aim: number;
}

const cpu = (kind: Case, server: Server, other: Server, aim: number): Ratio => ({
  of: [kind, server],
  to: [kind, other],
  what: 'requestsPerCpuSecond',
  aim,
});

const ratios = {
  hit1k_vs_squid: cpu('hit1k', 'ours', 'squid', 1.5),
  hit1k_vs_nginx: cpu('hit1k', 'ours', 'nginx', 0.9),
  hit1m_vs_squid: cpu('hit1m', 'ours', 'squid', 2),
  hit1m_vs_nginx: cpu('hit1m', 'ours', 'nginx', 0.9),
  disk1m_vs_squid_memory: cpu('hit1m', 'ours_disk', 'squid', 1.2),
  two_process_vs_squid_smp: cpu('two1k', 'ours_two', 'squid_two', 1.5),
  p99_vs_squid: { of: ['paced1k', 'ours'], to: ['paced1k', 'squid'], what: 'p99Ms', aim: 1 },
} satisfies Record<string, Ratio>;

export const median = (values: readonly number[]): number => {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/**
 * The median over the rounds of ours divided by theirs in the same round: what else the machine does in a round hits
 * both. A ratio whose servers were not measured is left out.
 */
export function ratiosOf(samples: Samples): Record<string, number> {
  const found: Record<string, number> = {};
  for (const [name, { of, to, what }] of Object.entries(ratios) as [string, Ratio][]) {
    const [ours, theirs] = [of, to].map(([kind, server]) => samples[kind][server] ?? []) as [
      Sample[],
      Sample[],
    ];
    if (ours.length > 0 && theirs.length > 0)
      found[name] = median(ours.map((sample, round) => sample[what] / theirs[round]![what]));
  }
  return found;
}

/** Medians over the rounds, by case and server. */
export function mediansOf(samples: Samples): Record<string, Record<string, Sample>> {
  const of = (list: Sample[]) =>
    Object.fromEntries(
      (Object.keys(list[0]!) as (keyof Sample)[]).map(what => [
        what,
        median(list.map(sample => sample[what])),
      ]),
    ) as unknown as Sample;
  return Object.fromEntries(
    Object.entries(samples).map(([kind, servers]) => [
      kind,
      Object.fromEntries(Object.entries(servers).map(([server, list]) => [server, of(list)])),
    ]),
  );
}

/** Two tables for people: what each server did, and the ratios beside what is aimed at. */
export function tables(samples: Samples): string {
  const rows = Object.entries(mediansOf(samples)).flatMap(([kind, servers]) =>
    Object.entries(servers).map(([server, sample], index) => [
      index === 0 ? cases[kind as Case].title : '',
      server,
      sample.requestsPerCpuSecond.toFixed(0),
      sample.requestsPerSecond.toFixed(0),
      sample.p50Ms.toFixed(2),
      sample.p99Ms.toFixed(2),
    ]),
  );
  const measured = table(
    ['medians', 'server', 'requests per CPU second', 'per second', 'p50 ms', 'p99 ms'],
    rows,
  );
  const compared = Object.entries(ratiosOf(samples)).map(([name, value]) => {
    const { aim, what } = ratios[name as keyof typeof ratios];
    const atMost = what === 'p99Ms';
    const met = atMost ? value <= aim : value >= aim;
    return [name, value.toFixed(2), `${atMost ? 'at most' : 'at least'} ${aim}`, met ? 'yes' : 'NO'];
  });
  return `${measured}\n\n${table(['ours / theirs', 'ratio', 'aim', 'reached'], compared)}\n`;
}
