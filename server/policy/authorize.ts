import { wireError } from '../../lib/problem.ts';
import type { Action } from '../../lib/protocol.ts';
import type { Caller, PayloadCaller, PilotCaller, UserCaller } from './caller.ts';
import { vosOf } from './caller.ts';
import { policyBounds, policyTable } from './policy-table.ts';
import type { PolicyBound, PolicyRow, Principal } from './policy-table.ts';

/** What an action is about, as far as policy looks at it. */
export interface Subject {
  vo?: string;
  /** DN of the job's submitter. */
  owner?: string;
}

const applies = (bound: PolicyBound, action: Action) => bound.actions.includes(action);

/**
 * Judges whether a kind of caller may do an action at all, before anything is looked up.
 *
 * @param maxDepth proxies below the end entity that policy allows.
 * @throws E_NO_CERTIFICATE, E_PILOT_CREDENTIAL, E_PAYLOAD_CREDENTIAL, E_LIMITED_PROXY, E_DELEGATION_DEPTH, E_NOT_IN_VO,
 *   E_NOT_ALLOWED, each with the rule that decided.
 */
export function authorizeAction(caller: Caller, action: Action, maxDepth: number): void {
  if (rowsFor('anyone', action).length > 0) return;
  switch (caller.kind) {
    case 'anonymous':
      throw wireError('E_NO_CERTIFICATE', `The action "${action}" needs a client certificate.`, {
        rule: 'certificate-required',
        fix: 'Connect with the certificate chain and key of a member, or of an enrolled pilot.',
      });
    case 'pilot':
      return refuseUnless(caller, action, 'pilot', policyBounds.pilotCredential);
    case 'payload':
      return refuseUnless(caller, action, 'payload', policyBounds.payloadCredential);
    case 'user':
      return authorizeUser(caller, action, maxDepth);
  }
}

function refuseUnless(
  caller: PilotCaller | PayloadCaller,
  action: Action,
  principal: Principal,
  bound: PolicyBound,
): void {
  if (rowsFor(principal, action).length > 0) return;
  throw wireError(bound.code, `The action "${action}" is refused to the credential of ${caller.name}.`, {
    rule: bound.rule,
    found: caller.name,
    fix: 'Use the certificate of the person who is to do this.',
  });
}

function authorizeUser(caller: UserCaller, action: Action, maxDepth: number): void {
  if (caller.limited && applies(policyBounds.limitedProxy, action)) {
    throw wireError('E_LIMITED_PROXY', `The action "${action}" is refused to a limited proxy.`, {
      rule: policyBounds.limitedProxy.rule,
      found: `limited proxy of ${caller.name}`,
      fix: 'Use a full proxy or the certificate itself.',
    });
  }
  if (caller.depth > maxDepth && applies(policyBounds.delegationDepth, action)) {
    throw wireError(
      'E_DELEGATION_DEPTH',
      `The action "${action}" is refused to a proxy this far from its owner.`,
      {
        rule: policyBounds.delegationDepth.rule,
        expected: `at most ${maxDepth} proxies below the certificate`,
        found: `${caller.depth}`,
        fix: 'Use a proxy nearer to the certificate.',
      },
    );
  }
  if (caller.roles.size === 0) {
    throw wireError('E_NOT_IN_VO', 'This certificate belongs to no member of any VO here.', {
      rule: 'members-only',
      found: caller.name,
      fix: "Ask the administrator to add this DN to the server's members.",
    });
  }
  const allowed = vosOf(caller).some(vo => rowOf(caller, action, vo) !== undefined);
  if (!allowed) throw notAllowed(caller, action);
}

/**
 * Judges a user's action on one thing.
 *
 * @returns the row of the policy table that allows it.
 * @throws E_NOT_IN_VO where the user has no role in the VO; E_NOT_ALLOWED where no row allows it.
 */
export function authorizeOn(
  caller: UserCaller,
  action: Action,
  subject: Subject & { vo: string },
): PolicyRow {
  if (!caller.roles.has(subject.vo)) {
    throw wireError('E_NOT_IN_VO', `This certificate belongs to no member of the VO ${subject.vo}.`, {
      rule: 'members-only',
      found: caller.name,
      fix: `Name a VO you are a member of: ${vosOf(caller).join(', ') || 'none'}.`,
    });
  }
  const row = rowOf(caller, action, subject.vo, subject.owner);
  if (!row) throw notAllowed(caller, action, subject.vo);
  return row;
}

/** Whether a row allows a user an action in a VO; for lists, of which everybody sees a part. */
export const mayIn = (caller: UserCaller, action: Action, vo: string): boolean =>
  rowOf(caller, action, vo) !== undefined;

const rowsFor = (principal: Principal, action: Action) =>
  policyTable.filter(row => row.principal === principal && row.actions.includes(action));

function rowOf(caller: UserCaller, action: Action, vo: string, owner?: string): PolicyRow | undefined {
  return policyTable.find(
    row =>
      row.actions.includes(action) &&
      caller.roles.get(vo)?.has(row.principal as never) &&
      (!row.own || owner === undefined || owner === caller.name),
  );
}

function notAllowed(caller: UserCaller, action: Action, vo?: string) {
  const allowing = policyTable.filter(row => row.actions.includes(action));
  const rules = allowing.map(row => `${row.principal}${row.own ? ' (own only)' : ''}`).join(', ');
  const roles =
    vo === undefined ? [...caller.roles.values()].flatMap(set => [...set]) : [...caller.roles.get(vo)!];
  return wireError(
    'E_NOT_ALLOWED',
    `No rule allows "${action}"${vo === undefined ? '' : ` in the VO ${vo}`}.`,
    {
      rule: allowing.map(row => row.rule).join(' | ') || 'default-deny',
      expected: rules || 'nobody',
      found: `${caller.name} with ${roles.join(', ')}`,
      fix: 'Ask an administrator for the role, if you should have it.',
    },
  );
}
