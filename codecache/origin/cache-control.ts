import type { ObjectName } from '../http/object-name.ts';

/** What a store serves: the objects of a code store, and the event log of its repository. */
export type ServedName = ObjectName | { kind: 'log'; path: string };

const IMMUTABLE = 'public, max-age=31536000, immutable, no-transform';
/** Every node asks for the next root first: with the store away, what is kept of the rest serves only as long as this. */
const NO_NEWER_ROOT = 'public, max-age=60, stale-if-error=86400';

/**
 * The Cache-Control of each answer of the origin (code-store 4.4). Explicit on every answer, 404 included, because a
 * shared cache may otherwise keep timestamp.json by heuristics and passes on each request for the next root.
 *
 * @param expiresMs when the timestamp's signature runs out, epoch milliseconds: no cache may serve it longer.
 */
export function cacheControl(
  name: ServedName | undefined,
  status: number,
  nowMs: number,
  expiresMs?: number,
): string {
  if (status === 404) return name?.kind === 'root' ? NO_NEWER_ROOT : 'public, max-age=5';
  if (status >= 400 || name === undefined) return 'no-store';
  if (name.kind === 'timestamp') {
    const left = Math.max(0, Math.floor(((expiresMs ?? nowMs) - nowMs) / 1000));
    return `public, max-age=${Math.min(30, left)}, stale-if-error=${left}`;
  }
  if (name.kind === 'log') return 'public, max-age=30';
  return name.kind === 'other' ? 'public, max-age=5' : IMMUTABLE;
}
