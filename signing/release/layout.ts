import { posix } from 'node:path';

/** Channels a queue can follow; each is a delegated role of the same name with one target. */
export const channels = ['stable', 'canary', 'dev'] as const;
export type Channel = (typeof channels)[number];

/** Roles that `targets` delegates to, in the order in which a client asks them. */
export const delegatedRoles = ['releases', ...channels, 'queues', 'trust'] as const;
export type DelegatedRole = (typeof delegatedRoles)[number];

/** Roles that people sign; the online ones are signed by publish and refresh. */
export const peoplesRoles = ['root', 'targets', ...delegatedRoles] as const;
export type PeoplesRole = (typeof peoplesRoles)[number];

export type Role = 'root' | 'targets' | 'snapshot' | 'timestamp' | DelegatedRole;

/** Target paths that a delegated role may sign. `*` does not cross a slash (TUF 1.0.31 section 4.5). */
export const delegatedPaths: Record<DelegatedRole, string[]> = {
  releases: ['pilot/*/*', 'runtime/*/*'],
  stable: ['channels/stable.json'],
  canary: ['channels/canary.json'],
  dev: ['channels/dev.json'],
  queues: ['queues/*.json'],
  trust: ['trust/*'],
};

export const QUEUES_TARGET = 'queues/channels.json';
export const TRUST_TARGET = 'trust/bundle.tar.gz';
export const channelTarget = (channel: string): string => `channels/${channel}.json`;
export const pilotTarget = (version: string): string => `pilot/${version}/pilot-${version}.tar.gz`;
export const runtimeTarget = (version: string, arch: string): string =>
  `runtime/${version}/node-${version}-${arch}.tar.gz`;

/** File name of a metadata version: `timestamp.json` is the only name that is ever written twice. */
export const metadataName = (role: string, version: number): string =>
  role === 'timestamp' ? 'timestamp.json' : `${version}.${role}.json`;

/** `pilot/1.0/x.tar.gz` -> `pilot/1.0/<sha256>.x.tar.gz` (consistent snapshot). */
export const hashedTargetPath = (path: string, sha256: string): string =>
  posix.join(posix.dirname(path), `${sha256}.${posix.basename(path)}`);

/** Paths inside a repository; what a store serves and mirrors copy is `public/`, the rest is the release managers' own. */
export const places = {
  public: 'public',
  metadata: 'public/metadata',
  targets: 'public/targets',
  /** The event log; it ships with the repository. */
  log: 'public/log.jsonl',
  /** Signed by enough keys, not yet published. */
  staged: 'staged',
  /** Waits for more signatures. */
  pending: 'pending',
  state: 'repository.json',
} as const;

/** Path of a target's bytes below `public/targets`. */
export const targetPlace = (target: { path: string; hashes: Record<string, string> }): string =>
  `${places.targets}/${hashedTargetPath(target.path, target.hashes.sha256 ?? '')}`;
