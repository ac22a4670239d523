import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Database } from '../../lib/database/database.ts';
import { schemaState } from '../../lib/database/schema-state.ts';
import { PilotageError } from '../../lib/errors.ts';
import type { FloorSource } from '../logic/release-floors.ts';
import { serverMigrations } from '../migrations/all.ts';
import type { ServerTables } from '../schema.ts';

export interface ReadinessReport {
  ready: boolean;
  checks: { name: string; ok: boolean; detail: string }[];
}

const CACHE_MS = 1000;
const DATABASE_MS = 1500;
const MAX_LAG_MS = 1000;

/** Judges whether this server can dispatch now; one judgement a second, however many ask. */
export class Readiness {
  readonly #database: Database<ServerTables>;
  readonly #releases: Pick<FloorSource, 'fresh'>;
  readonly #draining: AbortSignal;
  readonly #delay = monitorEventLoopDelay({ resolution: 20 });
  #report: { value: Promise<ReadinessReport>; atMs: number } | undefined;

  constructor(options: {
    database: Database<ServerTables>;
    releases: Pick<FloorSource, 'fresh'>;
    draining: AbortSignal;
  }) {
    this.#database = options.database;
    this.#releases = options.releases;
    this.#draining = options.draining;
    this.#delay.enable();
  }

  report(): Promise<ReadinessReport> {
    const nowMs = performance.now();
    if (!this.#report || nowMs - this.#report.atMs > CACHE_MS || this.#draining.aborted) {
      this.#report = { value: this.#judge(), atMs: nowMs };
    }
    return this.#report.value;
  }

  close(): void {
    this.#delay.disable();
  }

  async #judge(): Promise<ReadinessReport> {
    const lagMs = this.#delay.mean / 1e6;
    this.#delay.reset();
    const database = await this.#checkDatabase();
    const checks = [
      { name: 'accepting', ok: !this.#draining.aborted, detail: this.#draining.aborted ? 'draining' : 'yes' },
      ...database,
      {
        name: 'signed metadata',
        ok: this.#releases.fresh(),
        detail: this.#releases.fresh() ? 'fresh' : 'not verified or expired',
      },
      {
        name: 'loop',
        ok: !(lagMs > MAX_LAG_MS),
        detail: `${Number.isNaN(lagMs) ? 0 : Math.round(lagMs)} ms behind`,
      },
    ];
    return { ready: checks.every(check => check.ok), checks };
  }

  async #checkDatabase(): Promise<ReadinessReport['checks']> {
    try {
      await this.#database.ping(DATABASE_MS);
      const state = await schemaState(this.#database, serverMigrations);
      const detail = state.ready ? 'fits' : `missing ${state.missing.join(', ') || 'nothing'}`;
      return [
        { name: 'database', ok: true, detail: 'answers' },
        { name: 'schema', ok: state.ready, detail },
      ];
    } catch (error) {
      const detail = error instanceof PilotageError ? error.code : 'does not answer';
      return [{ name: 'database', ok: false, detail }];
    }
  }
}
