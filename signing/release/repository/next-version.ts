import { peoplesRoles } from '../layout.ts';
import type { RepositoryState } from './repository.ts';

/** What `release recover --past` can raise: versions of roles, and serials of the channels and the queue map. */
export const pastNames: readonly string[] = [
  'timestamp',
  'snapshot',
  ...peoplesRoles.filter(role => role !== 'root'),
  ...['stable', 'canary', 'dev', 'queues'].map(name => `${name}.serial`),
];

/** The newest number that clients may have seen: the repository's own, or what it was told after a loss. */
export const newestSeen = (state: Pick<RepositoryState, 'past'>, name: string, own: number): number =>
  Math.max(own, state.past?.[name] ?? 0);

/** The version that follows in a role. */
export const nextVersion = (state: Pick<RepositoryState, 'past'>, role: string, own: number): number =>
  newestSeen(state, role, own) + 1;
