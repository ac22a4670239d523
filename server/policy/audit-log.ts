import { errorTable, isWireErrorCode } from '../../lib/error-table.ts';
import type { PilotageError } from '../../lib/errors.ts';
import { newId } from '../../lib/ids.ts';
import type { Logger } from '../../lib/log.ts';
import { insertAudit } from '../queries/insert-audit.ts';
import type { Executor } from '../schema.ts';

/** Statuses that refuse somebody something, as against requests that make no sense. */
const REFUSALS = new Set([401, 403, 409, 410, 422, 426, 429]);

export interface Refused {
  caller: string;
  action: string;
  /** Method and path of the request. */
  resource: string;
  requestId: string;
  error: PilotageError;
}

/**
 * Writes every refusal to the table `audit`. A flood of them cannot fill the database: beyond `perSecond` they are
 * counted, and the count is written with the next one.
 */
export class AuditLog {
  readonly #db: Executor;
  readonly #log: Logger;
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  readonly #writing = new Set<Promise<void>>();
  #second = 0;
  #written = 0;
  #dropped = 0;

  constructor(options: { db: Executor; log: Logger; nowMs: () => number; perSecond?: number }) {
    this.#db = options.db;
    this.#log = options.log;
    this.#nowMs = options.nowMs;
    this.#perSecond = options.perSecond ?? 100;
  }

  /** Notes a refusal, if the error is one; never fails and never waits. */
  record(refused: Refused): void {
    const { code, rule } = refused.error;
    if (!isWireErrorCode(code) || !REFUSALS.has(errorTable[code].status)) return;
    const atMs = this.#nowMs();
    const second = Math.floor(atMs / 1000);
    if (second !== this.#second) [this.#second, this.#written] = [second, 0];
    if (this.#written >= this.#perSecond) {
      this.#dropped += 1;
      return;
    }
    this.#written += 1;
    const more = this.#dropped > 0 ? ` (${this.#dropped} refusals before this one were only counted)` : '';
    this.#dropped = 0;
    const write = insertAudit(this.#db, {
      audit_id: newId(),
      at_ms: atMs,
      caller: refused.caller.slice(0, 1000),
      action: refused.action,
      resource: refused.resource.slice(0, 500),
      code,
      rule: (rule ?? '').slice(0, 200),
      detail: (refused.error.message + more).slice(0, 2000),
      request_id: refused.requestId,
    })
      .catch((error: unknown) => {
        this.#log.error({ err: error, code, caller: refused.caller }, 'audit could not be written');
      })
      .finally(() => this.#writing.delete(write));
    this.#writing.add(write);
  }

  /** Waits for what is being written. */
  async flush(): Promise<void> {
    await Promise.all(this.#writing);
  }
}
