import { X509Certificate } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { createApiClient } from '../lib/api-client.ts';
import type { ApiClient } from '../lib/api-client.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { Bootstrap, Floors } from '../lib/protocol/release.ts';
import { keyPem, makeKey, requestCertificate } from './pilot-key.ts';

/**
 * Who this pilot is towards the servers: its key (in memory only), its certificate, and the connection made with both.
 * The certificate is renewed by the clock, at half of its life, with a fresh key.
 */
export class PilotIdentity {
  readonly pilotId: string;
  readonly queue: string;
  readonly #bootstrap: Pick<Bootstrap, 'servers' | 'serverCa'>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #key: KeyObject;
  #api: ApiClient;
  #renewAt: number;
  #renewing: Promise<void> | undefined;
  readonly #retired: ApiClient[] = [];
  #floors: Floors | null;

  constructor(options: {
    floors: Floors | null;
    pilotId: string;
    queue: string;
    key: KeyObject;
    certificateChain: string;
    validSeconds: number;
    bootstrap: Pick<Bootstrap, 'servers' | 'serverCa'>;
    clock: Clock;
    log: Logger;
  }) {
    this.pilotId = options.pilotId;
    this.queue = options.queue;
    this.#bootstrap = options.bootstrap;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#key = options.key;
    this.#floors = options.floors;
    this.#api = this.#connect(options.certificateChain, options.key);
    this.#renewAt = this.#halfLife(options.validSeconds);
  }

  /** The connection with the certificate now in force; ask for it before every call. */
  get api(): ApiClient {
    return this.#api;
  }

  /** The key that receipts are signed with. */
  get key(): KeyObject {
    return this.#key;
  }

  /** Least versions of signed metadata, as the server knew them last. */
  get floors(): Floors | null {
    return this.#floors;
  }

  /** Renews the certificate when half of its life is over; a renewal that fails is tried again with the next call. */
  renewIfDue(): Promise<void> {
    if (this.#clock.monotonic() < this.#renewAt) return Promise.resolve();
    this.#renewing ??= this.#renew().finally(() => (this.#renewing = undefined));
    return this.#renewing;
  }

  async #renew(): Promise<void> {
    try {
      const key = await makeKey();
      const csr = requestCertificate(key, this.pilotId);
      const reply = await this.#api.call('renewPilot', {
        body: { csr },
        patienceSeconds: 0,
        timeoutSeconds: 15,
      });
      // A certificate that is not for this key would cut the pilot off for good; the one in force still serves.
      if (!new X509Certificate(reply.certificateChain).checkPrivateKey(key)) {
        throw new Error('the certificate that came is not for the key that was sent');
      }
      const api = this.#connect(reply.certificateChain, key);
      this.#retired.push(this.#api);
      this.#key = key;
      this.#api = api;
      this.#floors = reply.floors ?? this.#floors;
      this.#renewAt = this.#halfLife(reply.validSeconds);
      this.#log.info({ validSeconds: reply.validSeconds }, 'pilot certificate renewed');
    } catch (error) {
      this.#renewAt = this.#clock.monotonic() + 30_000;
      this.#log.warn({ err: error }, 'pilot certificate not renewed');
    }
  }

  #connect(cert: string, key: KeyObject): ApiClient {
    const { servers, serverCa: ca } = this.#bootstrap;
    return createApiClient({
      servers,
      tls: { ca, cert, key: keyPem(key) },
      clock: this.#clock,
      log: this.#log,
    });
  }

  #halfLife(validSeconds: number): number {
    return this.#clock.monotonic() + (validSeconds * 1000) / 2;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#retired, this.#api].map(api => api.close()));
  }
}
