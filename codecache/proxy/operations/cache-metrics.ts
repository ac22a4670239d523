import { buildVersion } from '../../../lib/build-version.ts';
import type { UpstreamStats } from '../upstreams/upstream-stats.ts';
import { BUCKETS } from './cache-stats.ts';
import type { CacheStats } from './cache-stats.ts';
import { exposition } from './exposition.ts';
import type { Family, Sample } from './exposition.ts';

const counter = (name: string, help: string, samples: Sample[]): Family => ({
  name,
  help,
  type: 'counter',
  samples,
});
const gauge = (name: string, help: string, samples: Sample[]): Family => ({
  name,
  help,
  type: 'gauge',
  samples,
});
const one = (value: number): Sample[] => [{ value }];

/** All metrics of `pilotage cache serve`, in the text format of Prometheus; the table of docs/reference/metrics.md. */
export function cacheMetrics(stats: CacheStats): string {
  const { disk, memory, flights, metadata, upstreams } = stats;
  const requests = Object.entries(stats.requests).map(([key, value]) => {
    const [kind, how, status] = key.split(' ') as [string, string, string];
    return { labels: { kind, how, status }, value };
  });
  const seconds = Object.entries(stats.latency).map(([how, { counts, sum }]) => ({
    labels: { how },
    bounds: BUCKETS,
    counts,
    sum,
  }));
  const each = (value: (upstream: UpstreamStats) => number): Sample[] =>
    upstreams.map(upstream => ({
      labels: { upstream: upstream.url, role: upstream.role },
      value: value(upstream),
    }));
  return exposition([
    counter(
      'pilotage_cache_requests_total',
      'Answers, by what was asked for, how, and HTTP status.',
      requests,
    ),
    {
      name: 'pilotage_cache_request_seconds',
      help: 'From a request to the end of its answer, by how it was answered.',
      type: 'histogram',
      samples: seconds,
    },
    counter(
      'pilotage_cache_sent_bytes_total',
      'Bytes sent to clients, HTTP headers included.',
      one(stats.bytesServed),
    ),
    counter(
      'pilotage_cache_fetched_bytes_total',
      'Bytes received in bodies from upstreams and siblings.',
      one(stats.bytesFetched),
    ),
    gauge(
      'pilotage_cache_saved_bytes',
      'Sent less fetched: what did not cross the network again.',
      one(stats.bytesServed - stats.bytesFetched),
    ),
    counter(
      'pilotage_cache_cut_answers_total',
      'Answers whose connection ended before they did.',
      one(stats.cut),
    ),
    gauge(
      'pilotage_cache_open_connections',
      'Connections of clients that are open now.',
      one(stats.connections),
    ),
    gauge('pilotage_cache_flights', 'Objects that are being fetched now.', one(flights.objects)),
    gauge('pilotage_cache_flight_bytes', 'Memory that their bodies take.', one(flights.bytes)),
    counter(
      'pilotage_cache_upstream_requests_total',
      'Requests sent to an upstream.',
      each(({ requests: n }) => n),
    ),
    counter(
      'pilotage_cache_upstream_failures_total',
      'Requests that an upstream failed.',
      each(({ failures }) => failures),
    ),
    counter(
      'pilotage_cache_upstream_bytes_total',
      'Bytes received in bodies from an upstream.',
      each(({ bytes }) => bytes),
    ),
    counter(
      'pilotage_cache_upstream_blamed_total',
      'Answers of an upstream whose bytes were not what their name says.',
      each(({ blamed }) => blamed),
    ),
    gauge(
      'pilotage_cache_upstream_last_blame_timestamp_seconds',
      'Unix time of the last such answer; 0 for none.',
      each(({ lastBlame }) => (lastBlame?.atMs ?? 0) / 1000),
    ),
    gauge(
      'pilotage_cache_upstream_healthy',
      '0 from a failure of an upstream until it answers again, else 1.',
      each(({ healthy }) => Number(healthy)),
    ),
    gauge(
      'pilotage_cache_upstream_running',
      'Requests to an upstream that are under way.',
      each(({ running }) => running),
    ),
    gauge(
      'pilotage_cache_upstream_queued',
      'Requests that wait for room at an upstream.',
      each(({ queued }) => queued),
    ),
    gauge(
      'pilotage_cache_memory_objects',
      'Objects held in memory, all processes together.',
      one(memory.objects),
    ),
    gauge('pilotage_cache_memory_bytes', 'Their bytes.', one(memory.bytes)),
    counter(
      'pilotage_cache_memory_evicted_total',
      'Objects that went out of memory for others.',
      one(memory.evicted),
    ),
    gauge('pilotage_cache_disk_objects', 'Objects kept on disk.', one(disk.objects)),
    gauge('pilotage_cache_disk_bytes', 'Their bytes.', one(disk.bytes)),
    gauge(
      'pilotage_cache_disk_pinned_objects',
      'Objects that stay because a channel points to them.',
      one(disk.pinned),
    ),
    counter(
      'pilotage_cache_disk_evicted_total',
      'Objects removed from disk to make room.',
      one(disk.evicted),
    ),
    counter(
      'pilotage_cache_disk_failures_total',
      'Times that the disk failed to read or write.',
      one(stats.diskFailures),
    ),
    gauge(
      'pilotage_cache_disk_degraded',
      'Processes whose disk takes nothing now: they answer from memory and from upstreams.',
      one(stats.degraded),
    ),
    gauge(
      'pilotage_cache_answers',
      'Metadata answers held in memory, all processes together.',
      one(stats.answers.answers),
    ),
    counter(
      'pilotage_cache_metadata_fetched_total',
      'Versioned metadata files fetched: compared with what the metadata above them names, or nothing named them yet.',
      [
        { labels: { compared: 'yes' }, value: metadata.checked },
        { labels: { compared: 'no' }, value: metadata.unchecked },
      ],
    ),
    counter(
      'pilotage_cache_metadata_past_cache_total',
      'Requests for metadata with no-cache: sent on, or answered from what was just renewed.',
      [
        { labels: { sent: 'yes' }, value: metadata.forcedRenewals },
        { labels: { sent: 'no' }, value: metadata.refusedRenewals },
      ],
    ),
    counter(
      'pilotage_cache_metadata_stale_total',
      'Stale metadata served because no upstream answered in time.',
      one(metadata.staleServed),
    ),
    gauge('pilotage_cache_processes', 'Processes that answer clients.', one(stats.processes)),
    gauge(
      'pilotage_cache_processes_missing',
      'Processes that were too busy to say their numbers of now.',
      one(stats.missing),
    ),
    counter(
      'pilotage_cache_processes_replaced_total',
      'Processes that ended by accident.',
      one(stats.replaced),
    ),
    counter(
      'pilotage_cache_access_log_lost_lines_total',
      'Lines of the access log that could not be written.',
      one(stats.lostLines),
    ),
    gauge('pilotage_cache_not_ready', 'Processes that /readyz calls not ready.', one(stats.notReady)),
    gauge('pilotage_cache_info', 'Version of the program; always 1.', [
      { labels: { version: buildVersion }, value: 1 },
    ]),
  ]);
}
