import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PilotageError } from '../../lib/errors.ts';
import type { Refusal } from '../../lib/errors.ts';
import type { Client } from './client.ts';
import { installed } from './install.ts';
import type { Build } from './install.ts';
import { LOCAL, lastChecked, viewOfKept } from './node-view.ts';
import type { NodeStore } from './node-store.ts';
import type { View } from './refresh.ts';

/** Why a release runs that could not be checked now. */
export interface Offline {
  /** Since anybody on this node could check; where that is not known, since it was signed. */
  sinceSeconds: number;
  /** What refreshing failed with. */
  reason: string;
}

/** No cache gave what is valid now; a forged answer when no other cache can be reached is no better than none. */
const NO_VIEW = /^E_(CACHE_|TUF_|TARGET_)/;

/**
 * The release that the kept metadata names, when nothing newer can be had and the policy allows that: all of it is
 * verified anew, but for an expiry up to `graceSeconds` ago. It must lie whole on the node, must not be withdrawn by the
 * kept pointer, and must not be older than the floors: what the server knows wins over any grace. Outside of the
 * updater, which fails as the specification wants (TUF 1.0.31 section 5.4.4).
 *
 * @throws `failure`, when there is no such release or the failure is of another kind.
 */
export async function offlineRelease<J extends { builds: Build[] }>(
  client: Client,
  graceSeconds: number,
  judge: (view: View) => Promise<J>,
  failure: unknown,
): Promise<{ judged: J; directories: string[]; result: { refusals: readonly Refusal[]; offline: Offline } }> {
  const { clock, log, refresh, signal, store } = client;
  if (graceSeconds <= 0 || signal?.aborted === true) throw failure;
  if (!(failure instanceof PilotageError) || !NO_VIEW.test(failure.code)) throw failure;
  const signedMs = await keptTime(store);
  // Not behind the newest time that anything known was signed at: the clock would be refused.
  const leastMs = Math.max(clock.now() - graceSeconds * 1000, signedMs, refresh.floors?.signedTimeMs ?? 0);
  const nowMs = Math.min(clock.now(), leastMs);
  const kept = await viewOfKept({ ...refresh, clock: { ...clock, now: () => nowMs } }, judge);
  if (!('value' in kept)) {
    const { code, where } = kept.reason;
    log.warn({ code, where, graceSeconds }, 'what is kept on this node may not be started either');
    throw failure;
  }
  const judged = kept.value;
  const directories = await installed({ ...client, source: LOCAL }, judged.builds);
  if (directories === undefined) throw failure;
  const checkedMs = Number(await lastChecked(store)) * 1000 || signedMs;
  const sinceSeconds = Math.max(0, Math.round((clock.now() - checkedMs) / 1000));
  const offline = { sinceSeconds, reason: `${failure.code}: ${failure.message}` };
  log.warn(
    { ...offline, graceSeconds, where: failure.where },
    'running on kept metadata: no cache gave a valid refresh',
  );
  return { judged, directories, result: { refusals: failure.refusals ?? [], offline } };
}

/** When the kept timestamp was signed, milliseconds, as far as can be read of it; 0 where there is none. */
async function keptTime({ metadataDirectory }: NodeStore): Promise<number> {
  const text = await readFile(join(metadataDirectory, 'timestamp.json'), 'utf8').catch(() => '');
  return Number(/"x-pilotage-signed-ms":(\d{1,15})\b/.exec(text)?.[1] ?? 0);
}
