import fastify, { LogController } from 'fastify';
import type {
  FastifyError,
  FastifyInstance,
  FastifyReply,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify';
import type { SecureContextOptions, TlsOptions } from 'node:tls';
import {
  serializerCompiler,
  validatorCompiler,
  hasZodFastifySchemaValidationErrors,
} from 'fastify-type-provider-zod';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { AddressInfo, Socket } from 'node:net';
import { isWireErrorCode } from './error-table.ts';
import { PilotageError, fromSystemError, libError } from './errors.ts';
import { newId } from './ids.ts';
import type { Logger } from './log.ts';
import { PROBLEM_TYPE, toProblem, wireError } from './problem.ts';
import { buildVersion } from './build-version.ts';
import { version } from './version.ts';

export type HttpServer = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  Logger,
  ZodTypeProvider
>;

/** Well below the deadline of lib/shutdown.ts. */
const CLOSE_GRACE_MS = 5000;

/**
 * A fastify server with what every HTTP program of ours shares: zod validation, request ids, problem+json errors from the
 * error table, bounds on headers, bodies and slow clients, and the version header.
 *
 * @param options.tls server options for https (see signing/x509); plain http without.
 * @param options.bodyLimitBytes largest request body, default 4 MiB.
 */
export function createHttpServer(options: {
  program: string;
  log: Logger;
  tls?: SecureContextOptions & TlsOptions;
  bodyLimitBytes?: number;
  requestTimeoutMs?: number;
}): HttpServer {
  const server = fastify({
    ...(options.tls && { https: { ...options.tls, maxHeaderSize: 16_384 } }),
    ...(!options.tls && { http: { maxHeaderSize: 16_384 } }),
    loggerInstance: options.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyLimitBytes ?? 4 << 20,
    requestTimeout: options.requestTimeoutMs ?? 120_000,
    keepAliveTimeout: 75_000,
    connectionTimeout: 0,
    forceCloseConnections: 'idle',
    genReqId: () => newId(),
    routerOptions: { maxParamLength: 256 },
  }) as unknown as HttpServer;
  server.setValidatorCompiler(validatorCompiler);
  server.setSerializerCompiler(serializerCompiler);
  server.addHook('onSend', async (_request, reply, payload) => {
    void reply
      .header('x-pilotage-version', version)
      .header('x-server-version', buildVersion)
      .header('x-content-type-options', 'nosniff');
    return payload;
  });
  endConnectionsAfterGrace(server);
  server.setNotFoundHandler(async (request, reply) => {
    await sendProblem(
      reply,
      wireError('E_NO_SUCH_ROUTE', `There is no ${request.method} ${request.url.split('?')[0]} here.`, {
        fix: 'See /v1/openapi.json for what there is.',
      }),
      request.id,
    );
  });
  server.setErrorHandler(async (error: FastifyError | Error, request, reply) => {
    const known = knownError(error);
    // What is not in the table of errors leaves as E_INTERNAL, which sends people to the log.
    if (known === undefined || !isWireErrorCode(known.code))
      request.log.error(
        { err: error, requestId: request.id, route: request.routeOptions.url },
        'request failed',
      );
    await sendProblem(
      reply,
      known ?? wireError('E_INTERNAL', 'The server failed to answer this request.'),
      request.id,
    );
  });
  return server;
}

/**
 * Closing waits for requests under way, and so for whoever connected and never finished saying what he wants. These are
 * given a little time; then every connection that is left is cut, or a stranger could hold up the end of a program.
 */
function endConnectionsAfterGrace(server: HttpServer): void {
  const open = new Set<Socket>();
  server.server.on('connection', (socket: Socket) => {
    open.add(socket);
    socket.once('close', () => open.delete(socket));
  });
  server.addHook('preClose', done => {
    const timer = setTimeout(() => open.forEach(socket => socket.destroy()), CLOSE_GRACE_MS);
    timer.unref();
    server.server.once('close', () => clearTimeout(timer));
    done();
  });
}

async function sendProblem(reply: FastifyReply, error: PilotageError, requestId: string): Promise<void> {
  const problem = toProblem(error, requestId);
  if (problem.status === 429 || problem.status === 503) {
    reply.header('retry-after', String(Math.max(1, Math.ceil(error.retryAfterSeconds ?? 2))));
  }
  await reply
    .code(problem.status)
    .header('content-type', PROBLEM_TYPE)
    .serializer(JSON.stringify)
    .send(problem);
}

function knownError(error: FastifyError | Error): PilotageError | undefined {
  if (error instanceof PilotageError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) {
    const issue = error.validation[0]!;
    return wireError(
      'E_BAD_REQUEST',
      `${error.validationContext ?? 'request'}${issue.instancePath}: ${issue.message ?? 'not valid'}.`,
      {
        where: `${error.validationContext ?? 'request'}${issue.instancePath}`,
        fix: 'Correct this field; /v1/openapi.json has the schema.',
      },
    );
  }
  const status = (error as FastifyError).statusCode;
  if (status === 413)
    return wireError('E_TOO_LARGE', 'The request body is over the limit of this server.', {
      fix: 'Send it in parts.',
    });
  if (status === 415)
    return wireError('E_MEDIA_TYPE', 'The request body is not JSON.', {
      expected: 'content-type: application/json',
    });
  if (status !== undefined && status >= 400 && status < 500) return wireError('E_BAD_REQUEST', error.message);
  return undefined;
}

/**
 * Starts listening.
 *
 * @param address `HOST:PORT`, `[v6]:PORT`; port 0 takes any free one.
 * @returns base URL with the port that was taken.
 * @throws E_USAGE for an address that cannot be read; E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_PERMISSION naming it.
 */
export async function listen(server: HttpServer, address: string): Promise<string> {
  const { host, port } = parseAddress(address);
  try {
    await server.listen({ host, port });
  } catch (error) {
    throw (error as NodeJS.ErrnoException).syscall ? fromSystemError(error, address) : error;
  }
  const bound = server.server.address() as AddressInfo;
  const secure = 'setSecureContext' in server.server;
  return `${secure ? 'https' : 'http'}://${bound.family === 'IPv6' ? `[${bound.address}]` : bound.address}:${bound.port}`;
}

/** Splits `HOST:PORT`. @throws E_USAGE naming what was found. */
export function parseAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):(\d{1,5})$/.exec(address);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw libError({
      code: 'E_USAGE',
      message: 'The address to listen on cannot be read.',
      where: '--listen',
      expected: 'HOST:PORT with a port from 0 to 65535, for example 127.0.0.1:25443',
      found: address,
      fix: 'Give host and port.',
    });
  }
  return { host: match[1] ?? match[2]!, port };
}
