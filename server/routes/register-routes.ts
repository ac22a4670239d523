import fastifySwagger from '@fastify/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { jsonSchemaTransform } from 'fastify-type-provider-zod';
import type { TLSSocket } from 'node:tls';
import { PilotageError } from '../../lib/errors.ts';
import type { HttpServer } from '../../lib/http-server.ts';
import { Problem, wireError } from '../../lib/problem.ts';
import { IDEMPOTENCY_HEADER, routes } from '../../lib/protocol.ts';
import type { Action, Route, RouteName } from '../../lib/protocol.ts';
import { version } from '../../lib/version.ts';
import type { ServerContext } from '../logic/context.ts';
import type { AuditLog } from '../policy/audit-log.ts';
import { authorizeAction } from '../policy/authorize.ts';
import { anonymous } from '../policy/caller.ts';
import type { Caller } from '../policy/caller.ts';
import { policyTable } from '../policy/policy-table.ts';
import type { Call } from './call.ts';
import { databaseOr503 } from './database-or-503.ts';
import { handlers } from './handlers.ts';

export interface RouteOptions {
  context: ServerContext;
  /** Who calls; not asked for actions that anyone may do. */
  identify: (socket: TLSSocket) => Promise<Caller>;
  audit: AuditLog;
  /** Path in front of every route, without a slash at its end. */
  prefix: string;
  /** Aborts when the server drains. */
  draining: AbortSignal;
  nowMs: () => number;
}

/** Strangers' requests are read and parsed before anything is known of them, so they may be small only. */
const STRANGERS_BODY_BYTES = 256 * 1024;

const openActions = new Set<Action>(
  policyTable.filter(row => row.principal === 'anyone').flatMap(row => row.actions),
);

/** Mounts the contract's routes with their schemas, and its OpenAPI description at /v1/openapi.json. */
export async function registerRoutes(server: HttpServer, options: RouteOptions): Promise<void> {
  const callers = new WeakMap<FastifyRequest, Caller>();
  await server.register(fastifySwagger, {
    openapi: {
      info: {
        title: 'Pilotage server',
        version,
        description: 'Generated from lib/protocol.ts. Callers are known by their TLS client certificates.',
      },
    },
    transform: jsonSchemaTransform,
  });
  for (const name of Object.keys(routes) as RouteName[]) mount(server, name, options, callers);
  server.get(`${options.prefix}/v1/openapi.json`, { schema: { hide: true } }, async () => server.swagger());
  server.addHook('onError', async (request, _reply, thrown) => {
    const error: Error = thrown;
    if (!(error instanceof PilotageError)) return;
    const action = (request.routeOptions.config as { action?: Action }).action ?? 'none';
    const caller = callers.get(request)?.name ?? 'unknown';
    request.log.info(
      { requestId: request.id, caller, action, code: error.code, rule: error.rule },
      'refused',
    );
    options.audit.record({
      caller,
      action,
      resource: `${request.method} ${request.url.split('?')[0]}`,
      requestId: request.id,
      error,
    });
  });
}

function mount<N extends RouteName>(
  server: HttpServer,
  name: N,
  options: RouteOptions,
  callers: WeakMap<FastifyRequest, Caller>,
): void {
  const route: Route = routes[name];
  server.route({
    method: route.method,
    url: options.prefix + route.path,
    config: { action: route.action },
    ...(openActions.has(route.action) && {
      bodyLimit: Math.min(STRANGERS_BODY_BYTES, server.initialConfig.bodyLimit ?? STRANGERS_BODY_BYTES),
    }),
    schema: {
      operationId: name,
      summary: route.summary,
      tags: [route.action],
      params: route.params,
      querystring: route.query,
      ...(route.write && { body: route.body }),
      response: { 200: route.reply, '4xx': Problem, '5xx': Problem },
    },
    // Before the body is read and parsed: strangers cost little.
    onRequest: async request => {
      const caller = await whoCalls(route.action, request, options);
      callers.set(request, caller);
      authorizeAction(caller, route.action, options.context.settings.maxDelegationDepth);
    },
    handler: async (request, reply) => {
      if (name === 'acquire') requireDispatching(options);
      const call = {
        context: options.context,
        caller: callers.get(request) ?? anonymous,
        params: request.params,
        query: request.query,
        body: request.body,
        key: route.write ? idempotencyKey(request) : '',
        signal: name === 'acquire' ? callSignal(reply, options.draining) : options.draining,
      };
      const answer = await answerOf(name, call as unknown as Call<N>);
      return { serverTimeMs: options.nowMs(), instance: options.context.settings.instance, ...answer };
    },
  });
}

async function whoCalls(action: Action, request: FastifyRequest, options: RouteOptions): Promise<Caller> {
  if (openActions.has(action)) return anonymous;
  return databaseOr503(() => options.identify(request.raw.socket as TLSSocket));
}

const answerOf = <N extends RouteName>(name: N, call: Call<N>) => databaseOr503(() => handlers[name](call));

function idempotencyKey(request: FastifyRequest): string {
  const key = request.headers[IDEMPOTENCY_HEADER];
  if (typeof key === 'string' && /^[\x21-\x7e]{1,128}$/.test(key)) return key;
  throw wireError('E_BAD_REQUEST', 'A write needs an idempotency key.', {
    where: `header ${IDEMPOTENCY_HEADER}`,
    expected: '1 to 128 printable characters without spaces',
    found: key === undefined ? 'none' : 'another form',
    fix: 'Send a new key with each new request, and the same one when you repeat it.',
  });
}

/** Aborts when the connection closes before the answer, or when the server drains. */
function callSignal(reply: FastifyReply, drain: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return AbortSignal.any([gone.signal, drain]);
}

/** Jobs are given out only by a server that stays, while signed metadata is fresh; results are taken in any case. */
function requireDispatching({ context, draining }: RouteOptions): void {
  if (draining.aborted) {
    throw wireError('E_DRAINING', 'This server is shutting down and gives out no more jobs.', {
      retryAfterSeconds: 1,
      fix: 'Ask another server.',
    });
  }
  if (!context.releases.fresh()) {
    throw wireError('E_NOT_READY', 'The signed metadata of the code store is not verified, or expired.', {
      retryAfterSeconds: 5,
      rule: 'fresh-metadata-before-jobs',
      fix: 'Ask another server; the release managers have to refresh the metadata if it is expired.',
    });
  }
}
