import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { keyPem, makeKey } from '../../../agent/pilot-key.ts';
import { definitionSha256 } from '../../../agent/receipt.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { newId } from '../../../lib/ids.ts';
import { toProblem, wireError } from '../../../lib/problem.ts';
import { IDEMPOTENCY_HEADER, routes } from '../../../lib/protocol.ts';
import { JobDefinition } from '../../../lib/protocol/job.ts';
import type { ParsedBody, ReplyBody, RouteName } from '../../../lib/protocol.ts';
import type { JobDefinitionInput, Lease, PilotCommand } from '../../../lib/protocol/job.ts';
import type { Bootstrap } from '../../../lib/protocol/release.ts';
import { createAuthority, issueCertificate } from '../../../signing/x509/authority.ts';
import type { Authority } from '../../../signing/x509/authority.ts';
import { readCsr } from '../../../signing/x509/csr.ts';

type Reply<N extends RouteName> = Omit<ReplyBody<N>, 'serverTimeMs' | 'instance'>;

/**
 * A small real server, with TLS and client certificates, that answers a pilot by the contract: every request and reply
 * goes through its schema. It can lose a reply after it has acted, and refuse what a test tells it to refuse.
 */
export class TestSite {
  readonly instance = 'test';
  readonly queue = 'TEST_QUEUE';
  url = '';
  readonly calls: {
    route: RouteName;
    body: unknown;
    key: string | undefined;
    attemptId?: string;
    cn: string | undefined;
  }[] = [];
  readonly results: ({ attemptId: string } & ParsedBody<'complete'>)[] = [];
  readonly logs = new Map<string, Buffer>();
  readonly commands: PilotCommand[] = [];
  readonly waiting: Lease[] = [];
  /** Routes whose next reply is lost on its way, once for each entry. */
  readonly lose: RouteName[] = [];
  /** Asked before a request is acted on; what it throws is the answer. */
  refuse: (route: RouteName, body: unknown) => void = () => undefined;
  pilotCertificateSeconds = 3600;
  /** What a renewal is answered with instead of a certificate. */
  brokenRenewal: string | undefined;
  heartbeatSeconds = 0.2;
  drain = false;
  readonly #authority: Authority;
  readonly #server: ReturnType<typeof createServer>;
  readonly #answers = new Map<string, string>();
  readonly #pilots = new Map<string, { pilotId: string; keyHash: string }>();
  readonly #wakers = new Set<() => void>();

  private constructor(authority: Authority, server: ReturnType<typeof createServer>) {
    this.#authority = authority;
    this.#server = server;
    server.on('request', (request, response) => void this.#serve(request, response));
  }

  static async start(): Promise<TestSite> {
    const authority = await createAuthority({
      commonName: 'test CA',
      instance: 'test',
      days: 1,
      pathLength: 0,
    });
    const key = await makeKey();
    const { publicKey } = await keyPair(key);
    const { chainPem } = await issueCertificate({
      authority,
      publicKey,
      subject: [
        ['O', 'Pilotage'],
        ['OU', 'test'],
        ['CN', 'localhost'],
      ],
      validSeconds: 3600,
      usage: 'server',
      subjectAltNames: ['localhost', '127.0.0.1'],
    });
    const server = createServer({
      cert: chainPem,
      key: keyPem(key),
      requestCert: true,
      rejectUnauthorized: false,
    });
    const site = new TestSite(authority, server);
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    site.url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return site;
  }

  async stop(): Promise<void> {
    for (const wake of this.#wakers) wake();
    this.#server.closeAllConnections();
    await new Promise<void>(resolve => {
      this.#server.close(() => resolve());
    });
  }

  get serverCa(): string {
    return this.#authority.certificatePem;
  }

  bootstrap(agent: Bootstrap['agent'] = {}): Bootstrap {
    return {
      schema: 1,
      instance: this.instance,
      queue: this.queue,
      submissionId: newId(),
      secret: 'a-secret-of-this-test',
      servers: [this.url],
      serverCa: this.serverCa,
      caches: ['http://127.0.0.1:9'],
      site: 'none',
      floors: null,
      agent: { idleSeconds: 0, waitSeconds: 1, killGraceSeconds: 1, sampleMs: 50, ...agent },
    };
  }

  submit(definition: Omit<JobDefinitionInput, 'vo' | 'queue'>): Lease {
    const whole = JobDefinition.parse({ vo: 'test', queue: this.queue, ...definition });
    const lease: Lease = {
      jobId: newId(),
      attemptId: newId(),
      attemptNumber: 1,
      pandaId: 1,
      incarnation: 'first',
      leaseSeconds: 60,
      heartbeatSeconds: this.heartbeatSeconds,
      definition: whole,
      definitionSha256: definitionSha256(whole),
    };
    this.waiting.push(lease);
    for (const wake of this.#wakers) wake();
    return lease;
  }

  log(attemptId: string, stream: 'stdout' | 'stderr'): string {
    return this.logs.get(`${attemptId} ${stream}`)?.toString('utf8') ?? '';
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url!.split('?')[0]!;
    try {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const [name, params] = match(request.method!, path);
      const key = request.headers[IDEMPOTENCY_HEADER] as string | undefined;
      const body = routes[name].body.parse(JSON.parse(Buffer.concat(parts).toString() || '{}'));
      const peer = (request.socket as TLSSocket).getPeerX509Certificate();
      const cn = peer && /CN=(.*)/.exec(peer.subject)?.[1];
      this.calls.push({ route: name, body, key, cn, ...params });
      this.refuse(name, body);
      if (name !== 'enrol' && cn === undefined)
        throw wireError('E_NO_CERTIFICATE', 'No certificate was shown.');
      if (key === undefined) throw wireError('E_BAD_REQUEST', 'There is no idempotency key.');
      const earlier = this.#answers.get(`${name} ${key}`);
      const answer =
        earlier ??
        JSON.stringify(
          routes[name].reply.parse({
            ...(await this.#act(name, body as never, params.attemptId)),
            serverTimeMs: Date.now(),
            instance: this.instance,
          }),
        );
      this.#answers.set(`${name} ${key}`, answer);
      const lost = this.lose.indexOf(name);
      if (lost >= 0) {
        this.lose.splice(lost, 1);
        request.socket.destroy();
        return;
      }
      response.setHeader('content-type', 'application/json');
      response.end(answer);
    } catch (error) {
      const known = error instanceof PilotageError ? error : wireError('E_BAD_REQUEST', String(error));
      const problem = toProblem(known, 'test');
      response.statusCode = problem.status;
      response.setHeader('content-type', 'application/problem+json');
      if (known.retryAfterSeconds !== undefined)
        response.setHeader('retry-after', String(known.retryAfterSeconds));
      response.end(JSON.stringify(problem));
    }
  }

  async #act(name: RouteName, body: never, attemptId: string | undefined): Promise<object> {
    switch (name) {
      case 'enrol':
        return this.#enrol(body);
      case 'renewPilot':
        return {
          certificateChain:
            this.brokenRenewal ??
            (await this.#issue((body as ParsedBody<'renewPilot'>).csr, 'pilot renewed')),
          validSeconds: this.pilotCertificateSeconds,
          floors: null,
        } satisfies Reply<'renewPilot'>;
      case 'acquire':
        return this.#acquire(body);
      case 'heartbeat':
        return { leaseSeconds: 60, commands: this.commands.splice(0) } satisfies Reply<'heartbeat'>;
      case 'payloadCredential':
        return {
          certificateChain: await this.#issue(
            (body as ParsedBody<'payloadCredential'>).csr,
            `payload ${attemptId}`,
          ),
          validSeconds: 3600,
        } satisfies Reply<'payloadCredential'>;
      case 'appendLog': {
        const { stream, offset, data } = body as ParsedBody<'appendLog'>;
        const kept = this.logs.get(`${attemptId} ${stream}`) ?? Buffer.alloc(0);
        const chunk = Buffer.from(data, 'base64');
        this.logs.set(`${attemptId} ${stream}`, Buffer.concat([kept.subarray(0, offset), chunk]));
        return { nextOffset: offset + chunk.length } satisfies Reply<'appendLog'>;
      }
      case 'complete':
        this.results.push({ attemptId: attemptId!, ...(body as ParsedBody<'complete'>) });
        return { accepted: true, jobState: 'finished' } satisfies Reply<'complete'>;
      case 'leavePilot':
        return {};
      default:
        throw wireError('E_NO_SUCH_ROUTE', `not here: ${name}`);
    }
  }

  async #enrol(body: ParsedBody<'enrol'>): Promise<Reply<'enrol'>> {
    if (body.secret !== 'a-secret-of-this-test') throw wireError('E_SECRET_INVALID', 'The secret is wrong.');
    const { keyHash } = readCsr(body.csr);
    const pilot = this.#pilots.get(body.submissionId) ?? { pilotId: newId(), keyHash };
    if (pilot.keyHash !== keyHash) throw wireError('E_SECRET_USED', 'Another key has redeemed this secret.');
    this.#pilots.set(body.submissionId, pilot);
    return {
      pilotId: pilot.pilotId,
      queue: this.queue,
      certificateChain: await this.#issue(body.csr, `pilot ${pilot.pilotId}`),
      validSeconds: this.pilotCertificateSeconds,
      pilotLeaseSeconds: 120,
      incarnation: 'first',
      floors: null,
    };
  }

  async #acquire(body: ParsedBody<'acquire'>): Promise<Reply<'acquire'>> {
    if (this.waiting.length === 0 && !this.drain) {
      await new Promise<void>(resolve => {
        const wake = () => {
          clearTimeout(timer);
          this.#wakers.delete(wake);
          resolve();
        };
        const timer = setTimeout(wake, body.waitSeconds * 1000);
        this.#wakers.add(wake);
      });
    }
    return {
      lease: this.drain ? null : (this.waiting.shift() ?? null),
      drain: this.drain,
      drainBecause: null,
      refusals: [],
      retrySeconds: 0.05,
    };
  }

  async #issue(csrPem: string, commonName: string): Promise<string> {
    const { chainPem } = await issueCertificate({
      authority: this.#authority,
      csrPem,
      subject: [
        ['O', 'Pilotage'],
        ['OU', 'test'],
        ['CN', commonName],
      ],
      validSeconds: 3600,
      usage: 'client',
    });
    return chainPem;
  }
}

async function keyPair(privateKey: Awaited<ReturnType<typeof makeKey>>) {
  const { createPublicKey } = await import('node:crypto');
  return { publicKey: createPublicKey(privateKey) };
}

function match(method: string, path: string): [RouteName, { attemptId?: string }] {
  for (const [name, route] of Object.entries(routes)) {
    const found = new RegExp(`^${route.path.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`).exec(path);
    if (found && route.method === method) return [name as RouteName, { ...found.groups }];
  }
  throw wireError('E_NO_SUCH_ROUTE', `There is no ${path}.`);
}
