import { readableBytes } from '../../../lib/byte-size.ts';
import type { UpstreamStats } from '../upstreams/upstream-stats.ts';
import type { CacheStats } from '../operations/cache-stats.ts';

/** What a cache counted, for a person. */
export function describeStats(stats: CacheStats): string {
  const { hits, joined, revalidated, stale, misses, disk, memory, answers } = stats;
  const answered = hits + joined + revalidated + stale + misses;
  const lines = [
    `up ${stats.upSeconds} s, ${counted(stats.processes, 'process', 'processes')}` +
      (stats.missing > 0 ? `, ${stats.missing} did not answer in time` : '') +
      (stats.replaced > 0 ? `, ${stats.replaced} ended by accident and were replaced` : ''),
    `${answered} answers, hit ratio ${percent(answered - misses, answered)}; ${readableBytes(stats.bytesServed)} sent, ` +
      `byte hit ratio ${percent(stats.bytesServed - stats.bytesFetched, stats.bytesServed)}`,
    `hits ${hits}, joined ${joined}, revalidated ${revalidated}, stale ${stale}, misses ${misses}, ` +
      `refused ${stats.refused}, failed ${stats.failed}, cut ${stats.cut}`,
    `disk ${counted(disk.objects, 'object', 'objects')} (${readableBytes(disk.bytes)}), ${disk.pinned} pinned, ` +
      `${disk.evicted} evicted; memory ${counted(memory.objects, 'object', 'objects')} (${readableBytes(memory.bytes)}); ` +
      counted(answers.answers, 'metadata answer', 'metadata answers'),
    `${counted(stats.connections, 'connection', 'connections')}, ${counted(stats.flights.objects, 'object', 'objects')} on the way`,
  ];
  if (stats.degraded > 0)
    lines.push(`DISK FAILS in ${counted(stats.degraded, 'process', 'processes')}: the log says why`);
  if (stats.notReady > 0)
    lines.push(`NOT READY: ${counted(stats.notReady, 'process', 'processes')}; /readyz says why`);
  if (stats.lostLines > 0) lines.push(`ACCESS LOG: ${stats.lostLines} lines could not be written`);
  return [...lines, ...stats.upstreams.map(describeUpstream)].join('\n');
}

function describeUpstream(upstream: UpstreamStats): string {
  const { lastBlame } = upstream;
  return (
    `${upstream.role} ${upstream.url}: ${upstream.healthy ? 'healthy' : 'failing'}, ${upstream.requests} requests, ` +
    `${upstream.failures} failures, blamed ${upstream.blamed} times` +
    (lastBlame === undefined
      ? ''
      : `; last at ${new Date(lastBlame.atMs).toISOString()} for ${lastBlame.object} (${lastBlame.found})`)
  );
}

const counted = (count: number, one: string, more: string): string => `${count} ${count === 1 ? one : more}`;

const percent = (part: number, whole: number): string =>
  whole === 0 ? '0 %' : `${Math.max(0, Math.round((1000 * part) / whole) / 10)} %`;
