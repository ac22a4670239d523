import { PilotageError } from '../../../lib/errors.ts';
import type { Logger } from '../../../lib/log.ts';
import type { ReleaseConfig } from '../../config/schema.ts';
import { refreshLocked } from '../repository/publish.ts';
import { readReleaseMetadata, storageReader } from '../metadata/read-public.ts';
import { readState, withRepository, type ReleaseContext, type Repository } from '../repository/repository.ts';
import { roleTerms, type RoleTerm } from '../repository/role-terms.ts';

/** How one round ended: signed, somebody else had signed just before, or not. */
export type RoundOutcome = 'signed' | 'fresh' | 'failed';

export interface RoleWatch extends RoleTerm {
  secondsLeft: number;
  /** Somebody should sign; for timestamp and snapshot, this daemon does. */
  due: boolean;
  /** Nobody did in time: clients will be refused when nothing is done. */
  alarm: boolean;
}

/** First wait after a failure, seconds; doubled each time up to {@link MAX_BACKOFF}. */
const MIN_BACKOFF = 10;
const MAX_BACKOFF = 600;
/** Longest sleep at a time: a clock that was set, or a machine that slept, is noticed after this. */
const LOOK_SECONDS = 60;
const LOCK_WAIT_SECONDS = 10;

/**
 * Signs timestamp, and snapshot when due, again and again, so that nothing runs out while nobody looks, and says which
 * roles of people are about to (code-store 4.1). Several on one repository are harmless: each round takes the lock, and
 * leaves a timestamp alone that is younger than half an interval.
 */
export class RefreshDaemon {
  readonly #context: ReleaseContext;
  readonly #intervalMs: number;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly rounds: Record<RoundOutcome, number> = { signed: 0, fresh: 0, failed: 0 };
  /** Wall time of the last round that did not fail; undefined before. */
  lastSuccessMs: number | undefined;
  /** What the last round failed of. */
  failure: string | undefined;
  #terms: Record<string, RoleTerm> = {};
  #config: ReleaseConfig | undefined;
  #failures = 0;
  #alarms = new Set<string>();

  constructor(options: {
    context: ReleaseContext;
    intervalSeconds: number;
    log: Logger;
    random?: () => number;
  }) {
    this.#context = { ...options.context, lockWaitSeconds: LOCK_WAIT_SECONDS };
    this.#intervalMs = options.intervalSeconds * 1000;
    this.#log = options.log;
    this.#random = options.random ?? Math.random;
  }

  /** Goes on until the signal; a round that has begun is ended first. Never throws. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.round();
      await this.#pause(this.#waitMs(), signal);
    }
  }

  /** One round, and a look at every role; a failure is kept and logged, not thrown. */
  async round(): Promise<RoundOutcome> {
    let outcome: RoundOutcome;
    try {
      outcome = await this.#refresh();
      this.lastSuccessMs = this.#context.clock.now();
      this.failure = undefined;
      this.#failures = 0;
    } catch (error) {
      outcome = 'failed';
      this.#failures += 1;
      this.failure = describe(error);
      this.#log.error({ err: error, failures: this.#failures }, 'the release repository was not refreshed');
    }
    this.rounds[outcome] += 1;
    await this.#look();
    this.#logAlarms();
    return outcome;
  }

  /** Every role as it is public, by the present time; empty until the repository could be read once. */
  roles(): Record<string, RoleWatch> {
    const nowMs = this.#context.clock.now();
    return Object.fromEntries(
      Object.entries(this.#terms).map(([role, term]) => {
        const secondsLeft = (term.expiresMs - nowMs) / 1000;
        const resign = this.#resignSeconds(role);
        return [
          role,
          { ...term, secondsLeft, due: secondsLeft < resign, alarm: secondsLeft < alarmAt(role, resign) },
        ];
      }),
    );
  }

  #resignSeconds(role: string): number {
    return this.#config?.[role as keyof ReleaseConfig & 'root']?.resignSeconds ?? 0;
  }

  async #refresh(): Promise<RoundOutcome> {
    const { published } = await withRepository(this.#context, async repository =>
      this.#isFresh(repository) ? { published: false } : refreshLocked(repository),
    );
    if (published) this.#log.info({}, 'signed timestamp');
    return published ? 'signed' : 'fresh';
  }

  /** A timestamp from the future is none: some clock was wrong, and the next one must say so. */
  #isFresh({ state, published }: Repository): boolean {
    if (!published) return false;
    const nowMs = this.#context.clock.now();
    const signedMs = Number(published.timestamp.signed.unrecognizedFields['x-pilotage-signed-ms']);
    const age = nowMs - signedMs;
    const snapshotLeft = (Date.parse(published.snapshot.signed.expires) - nowMs) / 1000;
    return age >= 0 && age < this.#intervalMs / 2 && snapshotLeft > state.config.snapshot.resignSeconds;
  }

  async #look(): Promise<void> {
    const { storage } = this.#context;
    try {
      this.#config = (await readState(storage)).config;
      this.#terms = roleTerms(await readReleaseMetadata(storageReader(storage), { where: storage.name }));
    } catch (error) {
      // What was read before goes on running out.
      this.failure ??= describe(error);
      this.#log.error({ err: error }, 'the release repository cannot be read');
    }
  }

  #logAlarms(): void {
    for (const [role, { alarm, version, secondsLeft }] of Object.entries(this.roles())) {
      if (alarm === this.#alarms.has(role)) continue;
      const fields = { role, version, secondsLeft: Math.floor(secondsLeft) };
      if (alarm) {
        this.#alarms.add(role);
        this.#log.error(fields, 'a signature runs out and nobody has signed again');
      } else {
        this.#alarms.delete(role);
        this.#log.info(fields, 'the role was signed again');
      }
    }
  }

  /** Up to a tenth sooner than asked, so that many daemons do not come together. */
  #waitMs(): number {
    const spread = 1 - 0.1 * this.#random();
    if (this.#failures === 0) return this.#intervalMs * spread;
    const backoff = Math.min(MAX_BACKOFF, MIN_BACKOFF * 2 ** Math.min(10, this.#failures - 1));
    return Math.min(this.#intervalMs, backoff * 1000) * spread;
  }

  async #pause(milliseconds: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#context;
    const [wallEnd, end] = [clock.now() + milliseconds, clock.monotonic() + milliseconds];
    for (;;) {
      const left = Math.min(wallEnd - clock.now(), end - clock.monotonic());
      if (left <= 0 || signal.aborted) return;
      try {
        await clock.sleep(Math.min(left, LOOK_SECONDS * 1000), signal);
      } catch (error) {
        if (signal.aborted) return;
        throw error;
      }
      this.#logAlarms();
    }
  }
}

/** The snapshot is signed here as soon as it is due, so only half of that time is late; other roles wait for people. */
const alarmAt = (role: string, resignSeconds: number): number =>
  role === 'snapshot' ? resignSeconds / 2 : resignSeconds;

const describe = (error: unknown): string =>
  error instanceof PilotageError
    ? [`${error.code}: ${error.message}`, error.where, error.fix].filter(Boolean).join(' ')
    : String(error);
