import type { TLSSocket } from 'node:tls';
import { PilotageError } from '../../lib/errors.ts';
import { wireError } from '../../lib/problem.ts';
import { peerChain } from '../../signing/x509/peer-chain.ts';
import type { TrustAnchors } from '../../signing/x509/trust.ts';
import { verifyChain } from '../../signing/x509/verify-chain.ts';
import type { VerifiedChain } from '../../signing/x509/verify-chain.ts';
import type { ServerConfig } from '../config/schema.ts';
import { findCredentials } from '../queries/find-credentials.ts';
import type { CredentialRow, Executor } from '../schema.ts';
import { anonymous } from './caller.ts';
import type { Caller, UserCaller } from './caller.ts';
import type { Role } from './policy-table.ts';

/** A judgement of a socket's chain holds so long at most: keys become known, links expire. */
const JUDGED_MS = 30_000;

export interface CallerSources {
  trust: TrustAnchors;
  members: ServerConfig['members'];
  instance: string;
  /** Key hash of the pilot authority: what it issued must be known to the database. */
  pilotAuthorityKeyHash: string;
  db: Executor;
  nowMs: () => number;
}

/**
 * Makes the one function that says who is calling: the whole chain is taken from the socket and judged, then every key on
 * its path is looked up among those issued to pilots and payloads; only then does membership count. A chain with such a
 * key anywhere on it is that pilot or payload and nothing else, whatever stands above or below.
 *
 * The judgement is kept per socket for half a minute, never beyond the end of a link.
 */
export function createCallerIdentification(sources: CallerSources): (socket: TLSSocket) => Promise<Caller> {
  const judged = new WeakMap<TLSSocket, { caller: Caller; untilMs: number }>();
  const members = rolesByDn(sources.members);
  return async socket => {
    const nowMs = sources.nowMs();
    const known = judged.get(socket);
    if (known && nowMs < known.untilMs) return known.caller;
    judged.delete(socket);
    const chain = takeChain(socket);
    if (chain === undefined) return anonymous;
    const verified = verifyChain(chain, sources.trust, nowMs, { maxProxyDepth: 10 });
    const issued = await findCredentials(sources.db, verified.keyHashes);
    const caller = issued.length > 0 ? issuedCaller(issued) : userCaller(sources, members, verified);
    judged.set(socket, { caller, untilMs: Math.min(nowMs + JUDGED_MS, verified.notAfterMs) });
    return caller;
  };
}

function takeChain(socket: TLSSocket): Buffer[] | undefined {
  try {
    return peerChain(socket);
  } catch (error) {
    if (error instanceof PilotageError && error.code === 'E_NO_CERTIFICATE') return undefined;
    throw error;
  }
}

/** A payload's key anywhere on the path decides before a pilot's: a payload may have been given a proxy of its pilot. */
function issuedCaller(issued: CredentialRow[]): Caller {
  const payload = issued.find(row => row.kind === 'payload');
  if (payload?.attempt_id) {
    return { kind: 'payload', name: `payload ${payload.attempt_id}`, attemptId: payload.attempt_id };
  }
  const pilotId = issued[0]!.pilot_id;
  return { kind: 'pilot', name: `pilot ${pilotId}`, pilotId };
}

function userCaller(
  sources: CallerSources,
  members: ReadonlyMap<string, UserCaller['roles']>,
  verified: VerifiedChain,
): UserCaller {
  const { dn } = verified.endEntity;
  if (verified.keyHashes.slice(1).includes(sources.pilotAuthorityKeyHash)) {
    throw wireError('E_CHAIN_UNTRUSTED', 'This certificate of the pilot authority is not known here.', {
      rule: 'issued-keys-are-known',
      found: dn,
      fix: 'Enrol again; the database does not know this key.',
    });
  }
  const instance = /^\/O=Pilotage\/OU=([^/]+)\//.exec(dn)?.[1];
  if (instance !== undefined && instance !== sources.instance) {
    throw wireError('E_INSTANCE', 'This certificate belongs to another instance.', {
      rule: 'one-instance',
      expected: sources.instance,
      found: instance,
      fix: 'Use a certificate of this instance.',
    });
  }
  return {
    kind: 'user',
    name: dn,
    roles: verified.rights === 'none' ? new Map() : (members.get(dn) ?? new Map()),
    depth: verified.depth,
    limited: verified.limited,
  };
}

function rolesByDn(members: ServerConfig['members']): Map<string, Map<string, Set<Role>>> {
  const byDn = new Map<string, Map<string, Set<Role>>>();
  for (const { dn, vo, roles } of members) {
    const byVo = byDn.get(dn) ?? new Map<string, Set<Role>>();
    byVo.set(vo, new Set([...(byVo.get(vo) ?? []), ...roles]));
    byDn.set(dn, byVo);
  }
  return byDn;
}
