import { Counter, Gauge, Histogram, Registry } from '@prometheus-io/client';
import { buildVersion } from '../../lib/build-version.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Answered } from '../http/observe-answer.ts';
import type { StoreReport } from './inspect-store.ts';

/** What a request was about; a label of few values, whatever clients ask for. */
export type RequestKind =
  'timestamp' | 'root' | 'versioned' | 'hash-named' | 'log' | 'other' | 'history' | 'service' | 'none';

/** All metrics of `pilotage store serve`; the table of docs/reference/metrics.md. */
export class StoreMetrics {
  readonly #registry = new Registry();
  readonly #clock: Clock;
  readonly #requests = new Counter({
    name: 'pilotage_store_requests_total',
    help: 'Answers, by what was asked for and the HTTP status.',
    labelNames: ['kind', 'status'],
    registers: [this.#registry],
  });
  readonly #bytes = new Counter({
    name: 'pilotage_store_sent_bytes_total',
    help: 'Bytes sent, HTTP headers included.',
    labelNames: ['kind'],
    registers: [this.#registry],
  });
  readonly #cut = new Counter({
    name: 'pilotage_store_cut_answers_total',
    help: 'Answers whose connection ended before they did.',
    labelNames: ['kind'],
    registers: [this.#registry],
  });
  readonly #seconds = new Histogram({
    name: 'pilotage_store_request_seconds',
    help: 'From the header of a request to the end of its answer.',
    labelNames: ['kind'],
    buckets: [0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 1, 5, 30, 120],
    registers: [this.#registry],
  });
  /** By kind and status: looking labels up for each answer costs more than counting it. */
  readonly #counters = new Map<
    string,
    { requests: Counter.Internal; bytes: Counter.Internal; seconds: Histogram.Internal<'kind'> }
  >();
  readonly #connections = this.#gauge('pilotage_store_open_connections', 'Connections that are open now.');
  readonly #ready = this.#gauge('pilotage_store_ready', '1 when /readyz says yes, else 0.');
  readonly #version = this.#gauge('pilotage_store_role_version', 'Version of a role in force.', 'role');
  readonly #left = this.#gauge(
    'pilotage_store_role_expires_seconds',
    'Seconds until the signature of a role runs out; below zero when it has.',
    'role',
  );
  readonly #serial = this.#gauge(
    'pilotage_store_channel_serial',
    'Serial of the pointer of a channel.',
    'channel',
  );

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#gauge('pilotage_store_info', 'Version of the program; always 1.', 'version')
      .labels(buildVersion)
      .set(1);
  }

  #gauge(name: string, help: string, ...labelNames: string[]): Gauge {
    return new Gauge({ name, help, labelNames, registers: [this.#registry] });
  }

  count(kind: RequestKind, answered: Answered): void {
    const key = `${kind} ${answered.status}`;
    let counters = this.#counters.get(key);
    if (counters === undefined) {
      counters = {
        requests: this.#requests.labels(kind, String(answered.status)),
        bytes: this.#bytes.labels(kind),
        seconds: this.#seconds.labels(kind),
      };
      this.#counters.set(key, counters);
    }
    counters.requests.inc();
    counters.bytes.inc(answered.bytes);
    counters.seconds.observe(answered.milliseconds / 1000);
    if (!answered.complete) this.#cut.labels(kind).inc();
  }

  /** The Prometheus text format, with the state of the store as it was last looked at. */
  async text(report: StoreReport, openConnections: number): Promise<string> {
    this.#connections.set(openConnections);
    this.#ready.set(report.problem === undefined ? 1 : 0);
    for (const gauge of [this.#version, this.#left, this.#serial]) gauge.reset();
    for (const [role, { version, expiresMs }] of Object.entries(report.roles)) {
      this.#version.labels(role).set(version);
      this.#left.labels(role).set((expiresMs - this.#clock.now()) / 1000);
    }
    for (const [channel, { serial }] of Object.entries(report.channels)) {
      this.#serial.labels(channel).set(serial);
    }
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
