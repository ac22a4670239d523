import type { ReleaseConfig } from '../../config/schema.ts';
import type { Role } from '../layout.ts';

const numbered = (name: string, count: number): string[] =>
  count === 1 ? [name] : Array.from({ length: count }, (_, index) => `${name}-${index + 1}`);

/** Names of the keys that may sign each role (code-store 4.1): the builder's key is in `releases` only. */
export function roleKeyNames(config: ReleaseConfig): Record<Role, string[]> {
  const managers = numbered('manager', config.managers);
  return {
    root: numbered('root', config.root.keys),
    targets: numbered('targets', config.targets.keys),
    releases: ['builder', ...managers],
    stable: managers,
    canary: managers,
    dev: managers,
    queues: managers,
    trust: ['trust'],
    snapshot: numbered('snapshot', config.snapshot.keys),
    timestamp: numbered('timestamp', config.timestamp.keys),
  };
}

/** Every key name of a configuration, once. */
export const allKeyNames = (config: ReleaseConfig): string[] => [
  ...new Set(Object.values(roleKeyNames(config)).flat()),
];
