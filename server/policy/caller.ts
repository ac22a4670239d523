import type { Role } from './policy-table.ts';

/** Nobody in particular: no client certificate. */
export interface AnonymousCaller {
  kind: 'anonymous';
  name: 'anonymous';
}

/** A person or service of the configuration's members, by the end-entity DN of a verified chain. */
export interface UserCaller {
  kind: 'user';
  /** End-entity distinguished name. */
  name: string;
  /** Roles by VO. */
  roles: ReadonlyMap<string, ReadonlySet<Role>>;
  /** Proxies below the end entity. */
  depth: number;
  limited: boolean;
}

/** A credential that this server issued at enrolment. */
export interface PilotCaller {
  kind: 'pilot';
  name: string;
  pilotId: string;
}

/** A credential that this server issued to a payload. */
export interface PayloadCaller {
  kind: 'payload';
  name: string;
  attemptId: string;
}

export type Caller = AnonymousCaller | UserCaller | PilotCaller | PayloadCaller;

export const anonymous: AnonymousCaller = { kind: 'anonymous', name: 'anonymous' };

/** VOs in which a user has any role. */
export const vosOf = (caller: UserCaller): string[] => [...caller.roles.keys()];
