import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../lib/log.ts';
import { pinOf } from '../codecache/pin.ts';
import { TRUST_TARGET } from '../signing/release/layout.ts';
import { installAnchors } from '../signing/trust/install-anchors.ts';
import type { Floors } from '../lib/protocol/release.ts';
import type { AgentConfig } from './config/schema.ts';
import type { StoreAccess } from './store-access.ts';

/** Where sites have their authorities, for whoever looks without being told. */
const SITE_CERTIFICATES = '/etc/grid-security/certificates';
const DEADLINE_SECONDS = 60;
const PATIENCE_SECONDS = 5;

export interface TrustOptions {
  mode: AgentConfig['trust'];
  /** Null where there is no code store to take them from. */
  access: StoreAccess | null;
  sandbox: string;
  floors: () => Floors | null;
  log: Logger;
  /** Default {@link SITE_CERTIFICATES}. */
  siteCertificates?: string;
}

/**
 * The authorities, revocation lists and VOMS servers of a node that has none: the signed bundle of the code store, in a
 * directory of this pilot's own, renewed while it runs.
 */
export class TrustAnchors {
  readonly #options: TrustOptions;
  #wanted: boolean | undefined;
  #variables: Record<string, string> = {};

  constructor(options: TrustOptions) {
    this.#options = options;
  }

  /** Variables that point at what is installed; none where the site's own count, or nothing is installed. */
  get environment(): Readonly<Record<string, string>> {
    return this.#variables;
  }

  /** Whether jobs may be taken: the bundle is there, or need not be. */
  get ready(): boolean {
    return this.#options.mode !== 'bundle' || this.#variables.X509_CERT_DIR !== undefined;
  }

  /** Installs the bundle that is signed now, if it is wanted and another one than is installed. Never throws. */
  async renew(signal: AbortSignal): Promise<void> {
    const { access, sandbox, log, floors } = this.#options;
    this.#wanted ??= await this.#isWanted();
    if (!this.#wanted || access === null || !(await mayBeSigned(access))) return;
    try {
      const { fetchTarget } = await import('../codecache/client/fetch-target.ts');
      const fetched = await fetchTarget({
        ...access,
        path: TRUST_TARGET,
        floors: floors(),
        patienceSeconds: PATIENCE_SECONDS,
        signal: AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_SECONDS * 1000)]),
        log,
      });
      if (fetched === null) return;
      const { sha256: id, directory: from, cache } = fetched;
      const installed = await installAnchors({ from, to: join(sandbox, 'trust'), id });
      this.#variables = { X509_CERT_DIR: installed.certificates, X509_VOMS_DIR: installed.vomsdir };
      if (installed.changed) log.info({ sha256: id, cache }, 'trust anchors installed');
    } catch (error) {
      if (!signal.aborted) log.warn({ err: error }, 'trust anchors not renewed; what is installed stays');
    }
  }

  async #isWanted(): Promise<boolean> {
    const { mode, siteCertificates = SITE_CERTIFICATES } = this.#options;
    if (mode !== 'prefer-site') return mode === 'bundle';
    return stat(siteCertificates).then(
      () => false,
      () => true,
    );
  }
}

/**
 * Whether a bundle may be signed at all, by the snapshot that the wrapper or the client left: so that pilots of stores
 * without one need not load the client. The role begins empty, with version 1. Not verified, and trusted for nothing else.
 */
async function mayBeSigned({ trustedRoot, storeDirectory }: StoreAccess): Promise<boolean> {
  const file = join(storeDirectory, 'metadata', pinOf(trustedRoot), 'snapshot.json');
  try {
    const { signed } = JSON.parse(await readFile(file, 'utf8')) as {
      signed: { meta: Record<string, { version: number } | undefined> };
    };
    return (signed.meta['trust.json']?.version ?? 0) > 1;
  } catch {
    return true; // Nothing is kept yet: then the client looks.
  }
}
