import type { Clock } from '../../../lib/clock.ts';
import type { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import { codecacheError } from '../../errors.ts';
import type { CodecacheErrorCode } from '../../errors.ts';
import { BlameRecord } from './blame-record.ts';
import type { Blame } from './blame-record.ts';
import { RequestGate } from './request-gate.ts';
import { UpstreamHealth } from './upstream-health.ts';
import { describeFailure } from './upstream-failure.ts';
import type { UpstreamStats } from './upstream-stats.ts';

/** Requests to one upstream at once, by one process; more wait in a queue. */
export const MAX_RUNNING = 64;
const MAX_QUEUED = 256;

export interface UpstreamOptions {
  url: string;
  sibling: boolean;
  clock: Clock;
  log: Logger;
  /** A request that found no room within this fails. */
  queueSeconds: number;
  /** From 0 up to 1; default Math.random. */
  random?: () => number;
}

/** One place a cache fetches from: what is known of it and what it did, whichever view asks it. */
export class Upstream {
  readonly url: string;
  /** Another cache of the site: asked only for what it has already. */
  readonly sibling: boolean;
  readonly health: UpstreamHealth;
  readonly gate: RequestGate;
  readonly blames: BlameRecord;
  readonly counted = { requests: 0, answers: 0, retried: 0, failures: 0, passedOver: 0, bytes: 0 };
  #lastFailure: UpstreamStats['lastFailure'];
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor({ url, sibling, clock, log, queueSeconds, random }: UpstreamOptions) {
    this.url = url;
    this.sibling = sibling;
    this.#clock = clock;
    this.#log = log;
    this.health = new UpstreamHealth(clock, random);
    this.blames = new BlameRecord(clock);
    this.gate = new RequestGate({
      clock,
      maxRunning: MAX_RUNNING,
      maxQueued: MAX_QUEUED,
      waitSeconds: queueSeconds,
    });
  }

  /** Notes a failure and makes the error that names it. */
  failed(path: string, reason: unknown): PilotageError<CodecacheErrorCode> {
    const { found, timeout } = describeFailure(reason);
    this.counted.failures += 1;
    this.#lastFailure = { object: path, found, atMs: this.#clock.now() };
    const { restsMs, askedMs } = this.health;
    const waitMs = Math.ceil(restsMs);
    this.#log.warn({ upstream: this.url, object: path, found, waitMs }, 'upstream failed');
    return codecacheError({
      code: timeout ? 'E_UPSTREAM_TIMEOUT' : 'E_UPSTREAM_FAILED',
      message: 'The upstream gave no usable answer.',
      where: `${this.url}/${path}`,
      found,
      fix: 'Check that the upstream runs and can be reached from here.',
      ...(askedMs > 0 && { retryAfterSeconds: Math.ceil(askedMs / 1000) }),
      cause: reason,
    });
  }

  /** The error for a request that was not sent; nothing happened to the upstream by it. */
  passedOver(path: string, found: string): PilotageError<CodecacheErrorCode> {
    this.counted.passedOver += 1;
    const last = this.#lastFailure;
    const { askedMs } = this.health;
    return codecacheError({
      code: 'E_UPSTREAM_FAILED',
      message: 'The upstream was not asked.',
      where: `${this.url}/${path}`,
      found: last === undefined ? found : `${found}; last failure: ${last.found}`,
      fix: 'Ask again a little later; check that the upstream runs and can be reached from here.',
      ...(askedMs > 0 && { retryAfterSeconds: Math.ceil(askedMs / 1000) }),
    });
  }

  /** It sent bytes that are not what their name says: it is named in log and counters, and asked last for a while. */
  blame(path: string, expected: string, found: string): PilotageError<CodecacheErrorCode> {
    this.blames.add(path, expected, found);
    this.#log.error(
      { upstream: this.url, object: path, expected, found },
      'upstream sent forged or damaged bytes',
    );
    return codecacheError({
      code: 'E_UPSTREAM_FORGED',
      message: 'The upstream sent bytes that are not what their name says; nothing of them was kept.',
      where: `${this.url}/${path}`,
      expected,
      found,
      fix: 'Check this upstream, and what lies between it and the origin.',
    });
  }

  /** It contradicts the metadata of another upstream: both are named, and neither is blamed, for either may be right. */
  contradicted(path: string, by: string, expected: string, found: string): PilotageError<CodecacheErrorCode> {
    this.#log.error(
      { upstream: this.url, other: by, object: path, expected, found },
      'two upstreams contradict each other',
    );
    return codecacheError({
      code: 'E_UPSTREAM_FORGED',
      message:
        'The upstream sent another file than the metadata of another upstream names; nothing of it was kept.',
      where: `${this.url}/${path}`,
      expected,
      found,
      fix: `Check both this upstream and ${by}: one of them is wrong.`,
    });
  }

  stats(): UpstreamStats {
    const { health, blames, gate } = this;
    const lastBlame: Blame | undefined = blames.last.at(-1);
    return {
      url: this.url,
      role: this.sibling ? 'sibling' : 'upstream',
      healthy: health.state === 'well',
      trusted: blames.trusted,
      restsSeconds: Math.ceil(health.restsMs / 1000),
      ...this.counted,
      running: gate.running,
      queued: gate.queued,
      blamed: blames.times,
      ...(this.#lastFailure && { lastFailure: this.#lastFailure }),
      ...(lastBlame && { lastBlame }),
      blames: [...blames.last],
    };
  }
}
