import type { Action } from '../../lib/protocol.ts';
import type { WireErrorCode } from '../../lib/error-table.ts';

/** Roles a member of a VO can have; `pilot`, `payload` and `anyone` come from the credential, not from membership. */
export const memberRoles = ['submitter', 'shifter', 'admin', 'autopilot'] as const;
export type Role = (typeof memberRoles)[number];
export type Principal = Role | 'pilot' | 'payload' | 'anyone';

export interface PolicyRow {
  /** Name that refusals, the audit and the documents use. */
  rule: string;
  principal: Principal;
  actions: readonly Action[];
  /** Only on what belongs to the caller: its own job, its own attempt. */
  own?: boolean;
}

/** Who may do what; what no row allows is refused. Roles count only inside the VO they were given for. */
export const policyTable: readonly PolicyRow[] = [
  { rule: 'submitter-submits', principal: 'submitter', actions: ['submit'] },
  { rule: 'submitter-reads', principal: 'submitter', actions: ['read'] },
  { rule: 'submitter-kills-own', principal: 'submitter', actions: ['kill', 'command'], own: true },
  { rule: 'shifter-operates', principal: 'shifter', actions: ['read', 'kill', 'command', 'demand'] },
  {
    rule: 'admin-operates',
    principal: 'admin',
    actions: ['submit', 'read', 'kill', 'command', 'demand', 'submission'],
  },
  { rule: 'autopilot-feeds-queues', principal: 'autopilot', actions: ['demand', 'submission', 'read'] },
  { rule: 'pilot-works', principal: 'pilot', actions: ['acquire', 'update'], own: true },
  { rule: 'payload-reads-own-job', principal: 'payload', actions: ['read'], own: true },
  { rule: 'anyone-enrols', principal: 'anyone', actions: ['enrol', 'health'] },
];

export interface PolicyBound {
  rule: string;
  code: WireErrorCode;
  actions: readonly Action[];
  meaning: string;
}

/** What holds whatever role a caller has. */
export const policyBounds = {
  pilotCredential: {
    rule: 'pilot-credential-only-works',
    code: 'E_PILOT_CREDENTIAL',
    actions: ['submit', 'read', 'kill', 'command', 'demand', 'submission'],
    meaning: 'A chain with a key that was issued to a pilot acts as that pilot and as nothing else.',
  },
  payloadCredential: {
    rule: 'payload-credential-only-reads-its-job',
    code: 'E_PAYLOAD_CREDENTIAL',
    actions: ['submit', 'kill', 'command', 'demand', 'submission', 'acquire', 'update'],
    meaning: 'A chain with a key that was issued to a payload can read its own job and nothing else.',
  },
  limitedProxy: {
    rule: 'limited-proxy-changes-nothing',
    code: 'E_LIMITED_PROXY',
    actions: ['submit', 'kill', 'command', 'submission'],
    meaning: 'A limited proxy was made for a job to read with, not to act for its owner.',
  },
  delegationDepth: {
    rule: 'delegation-depth-within-policy',
    code: 'E_DELEGATION_DEPTH',
    actions: ['submit', 'kill', 'command', 'submission'],
    meaning: 'A proxy further from its owner than policy allows has been through too many hands.',
  },
} as const satisfies Record<string, PolicyBound>;
