/** What a load balancer in front of the server should do with an answer of this status. */
export type BalancerAction = 'pass on' | 'try another server' | 'try another server once';
/** What our clients do: the only retry rule in the product. */
export type ClientAction =
  | 'fix the request'
  | 'authenticate again'
  | 'stop: not allowed'
  | 'drop this attempt'
  | 'drop this job'
  | 'repeat elsewhere after Retry-After'
  | 'repeat elsewhere once'
  | 'ask the named owner'
  | 'upgrade the pilot';

export interface WireError {
  status: number;
  balancer: BalancerAction;
  client: ClientAction;
  meaning: string;
}

const row = (status: number, balancer: BalancerAction, client: ClientAction, meaning: string): WireError => ({
  status,
  balancer,
  client,
  meaning,
});

/**
 * Every error code that crosses the wire (RFC 9457 problem+json). The server answers from it, the clients act by it and
 * docs/reference/errors.md is compared with it by a test.
 */
export const errorTable = {
  E_BAD_REQUEST: row(400, 'pass on', 'fix the request', 'The request does not fit its schema.'),
  E_NO_CERTIFICATE: row(401, 'pass on', 'authenticate again', 'The caller showed no client certificate.'),
  E_CHAIN_INVALID: row(
    401,
    'pass on',
    'authenticate again',
    'The certificate chain breaks a rule of the verifier; `rule` names it.',
  ),
  E_CHAIN_EXPIRED: row(
    401,
    'pass on',
    'authenticate again',
    'A link of the certificate chain is expired or not yet valid.',
  ),
  E_CHAIN_UNTRUSTED: row(
    401,
    'pass on',
    'authenticate again',
    'The chain does not end at an authority this server trusts.',
  ),
  E_SESSION_RESUMED: row(
    401,
    'pass on',
    'authenticate again',
    'A resumed TLS session carries no whole chain and is refused.',
  ),
  E_SECRET_INVALID: row(401, 'pass on', 'stop: not allowed', 'The submission secret is wrong.'),
  E_NOT_ALLOWED: row(
    403,
    'pass on',
    'stop: not allowed',
    'Policy does not allow this action to this caller.',
  ),
  E_NOT_IN_VO: row(
    403,
    'pass on',
    'stop: not allowed',
    'The caller is known to no VO that this request names.',
  ),
  E_DELEGATION_DEPTH: row(
    403,
    'pass on',
    'stop: not allowed',
    'The proxy chain is deeper than policy allows for this action.',
  ),
  E_LIMITED_PROXY: row(403, 'pass on', 'stop: not allowed', 'A limited proxy may not do this.'),
  E_PILOT_CREDENTIAL: row(403, 'pass on', 'stop: not allowed', 'A pilot credential may not do this.'),
  E_PAYLOAD_CREDENTIAL: row(
    403,
    'pass on',
    'stop: not allowed',
    'A credential issued to a payload may not do this.',
  ),
  E_INSTANCE: row(
    403,
    'pass on',
    'stop: not allowed',
    'The credential or request belongs to another instance.',
  ),
  E_RELEASE_REVOKED: row(
    403,
    'pass on',
    'stop: not allowed',
    'The release that the pilot runs was withdrawn by its managers.',
  ),
  E_CONTAINMENT: row(
    403,
    'pass on',
    'stop: not allowed',
    'The queue does not allow payloads contained in this way.',
  ),
  E_NO_SUCH_ROUTE: row(404, 'pass on', 'fix the request', 'There is no such path.'),
  E_NOT_FOUND: row(
    404,
    'pass on',
    'fix the request',
    'There is no such job, attempt, queue, pilot or submission.',
  ),
  E_FENCED: row(
    409,
    'pass on',
    'drop this attempt',
    'This attempt or pilot was replaced; its late write is refused.',
  ),
  E_ILLEGAL_TRANSITION: row(
    409,
    'pass on',
    'drop this attempt',
    'The transition table has no such change of state.',
  ),
  E_SECRET_USED: row(
    409,
    'pass on',
    'stop: not allowed',
    'The submission secret was already redeemed by another key.',
  ),
  E_JOB_GONE: row(410, 'pass on', 'drop this job', 'The job has ended and takes no more writes.'),
  E_SUBMISSION_GONE: row(410, 'pass on', 'stop: not allowed', 'The submission expired or was withdrawn.'),
  E_PRECONDITION: row(412, 'pass on', 'drop this attempt', 'A precondition of the request no longer holds.'),
  E_TOO_LARGE: row(413, 'pass on', 'fix the request', 'The request body is over the limit.'),
  E_MEDIA_TYPE: row(415, 'pass on', 'fix the request', 'The request body is not JSON.'),
  E_WRONG_SHARD: row(421, 'pass on', 'ask the named owner', 'Another server owns this id or cloud.'),
  E_IDEMPOTENCY_CONFLICT: row(
    422,
    'pass on',
    'fix the request',
    'The same idempotency key came with another request.',
  ),
  E_PILOT_TOO_OLD: row(
    426,
    'pass on',
    'upgrade the pilot',
    'The pilot speaks a protocol or runs a release that is no longer served.',
  ),
  E_PILOT_CAP: row(
    429,
    'pass on',
    'repeat elsewhere after Retry-After',
    'The queue has as many working pilots as its cap allows.',
  ),
  E_TOO_MANY_REQUESTS: row(
    429,
    'try another server',
    'repeat elsewhere after Retry-After',
    'The caller asks more often than the server allows.',
  ),
  E_INTERNAL: row(
    500,
    'try another server once',
    'repeat elsewhere once',
    'The server failed; the log has the request id.',
  ),
  E_NOT_READY: row(
    503,
    'try another server',
    'repeat elsewhere after Retry-After',
    'The server cannot dispatch now (database, schema, signing data or start-up).',
  ),
  E_DRAINING: row(
    503,
    'try another server',
    'repeat elsewhere after Retry-After',
    'The server is shutting down and takes no new work.',
  ),
  E_OVERLOADED: row(
    503,
    'try another server',
    'repeat elsewhere after Retry-After',
    'The server sheds load of this class.',
  ),
} as const satisfies Record<string, WireError>;

export type WireErrorCode = keyof typeof errorTable;

export const isWireErrorCode = (code: string): code is WireErrorCode => Object.hasOwn(errorTable, code);
