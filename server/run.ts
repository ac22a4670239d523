import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { systemClock } from '../lib/clock.ts';
import type { Clock } from '../lib/clock.ts';
import { openDatabase } from '../lib/database/open-database.ts';
import { createHttpServer, listen } from '../lib/http-server.ts';
import type { HttpServer } from '../lib/http-server.ts';
import type { Logger } from '../lib/log.ts';
import { Shutdown } from '../lib/shutdown.ts';
import type { ServerConfig } from './config/schema.ts';
import { createCertificateIssuer, tryAuthority } from './logic/certificate-issuer.ts';
import type { ServerContext } from './logic/context.ts';
import { JobWakeup } from './logic/job-wakeup.ts';
import { prepareDatabase } from './logic/prepare-database.ts';
import { noFloors, watchFloors } from './logic/release-floors.ts';
import { startSweeper } from './logic/sweeper.ts';
import { AuditLog } from './policy/audit-log.ts';
import { createCallerIdentification } from './policy/identify-caller.ts';
import { registerHealthRoutes } from './routes/health-routes.ts';
import { Readiness } from './routes/readiness.ts';
import { registerRoutes } from './routes/register-routes.ts';
import type { ServerTables } from './schema.ts';
import { readServerFiles } from './start-files.ts';

export interface RunningServer {
  /** Base URL that clients use, with its prefix. */
  url: string;
  context: ServerContext;
  /** Stops taking work, answers what waits, finishes what is under way, and closes everything. */
  close: () => Promise<void>;
}

/**
 * Starts a dispatcher: files, database with its schema, TLS listener, sweeps.
 *
 * @throws what the parts throw, each naming the setting or file.
 */
export async function startServer(
  config: ServerConfig,
  options: { log: Logger; clock?: Clock },
): Promise<RunningServer> {
  const { log, clock = systemClock } = options;
  const shutdown = new Shutdown({ log });
  try {
    return await compose(config, { log, clock, shutdown });
  } catch (error) {
    await shutdown.close();
    throw error;
  }
}

async function compose(
  config: ServerConfig,
  { log, clock, shutdown }: { log: Logger; clock: Clock; shutdown: Shutdown },
): Promise<RunningServer> {
  const files = await readServerFiles(config);
  const url = config.databaseUrl ?? `sqlite:${join(config.stateDirectory, 'server.sqlite')}`;
  const database = await openDatabase<ServerTables>(url, { log, maxConnections: config.databaseConnections });
  shutdown.defer('database', () => database.close());
  await prepareDatabase(database, config, log);
  const releases = config.store
    ? await watchFloors({ store: config.store, queues: config.queues }, { database, clock, log })
    : noFloors;
  shutdown.defer('release floors', () => releases.close());
  const context: ServerContext = {
    database,
    settings: config,
    log,
    wakeup: new JobWakeup(),
    issuer: createCertificateIssuer(files.pilotAuthority, config.instance),
    secretKey: files.secretKey,
    releases,
  };
  await tryAuthority(files.pilotAuthority, config.instance).catch((error: unknown) => {
    log.error({ err: error }, 'no pilot can enrol: the pilot authority cannot issue certificates');
  });
  const audit = new AuditLog({ db: database.db, log, nowMs: () => clock.now() });
  shutdown.defer('audit', () => audit.flush());
  const sweeper = startSweeper(context);
  shutdown.defer('sweeper', () => sweeper.close());
  const server = createHttpServer({
    program: 'server',
    log,
    tls: files.tls,
    bodyLimitBytes: config.limits.bodyBytes,
  });
  shutdown.defer('listener', () => server.close());
  const prefix = prefixOf(config.publicBaseUrl);
  const identify = createCallerIdentification({
    trust: files.trust,
    members: config.members,
    instance: config.instance,
    pilotAuthorityKeyHash: files.pilotAuthority.certificate.keyHash,
    db: database.db,
    nowMs: () => clock.now(),
  });
  const readiness = new Readiness({ database, releases, draining: shutdown.signal });
  shutdown.defer('readiness', () => readiness.close());
  closeConnectionsWhenDraining(server, shutdown.signal);
  registerHealthRoutes(server, { prefix, readiness, draining: shutdown.signal, instance: config.instance });
  await registerRoutes(server, {
    context,
    identify: (socket: TLSSocket) => identify(socket),
    audit,
    prefix,
    draining: shutdown.signal,
    nowMs: () => clock.now(),
  });
  const bound = await listen(server, config.listen);
  log.info({ url: bound, instance: config.instance, database: database.dialect }, 'server listens');
  return { url: bound + prefix, context, close: () => shutdown.close() };
}

/** Path of the public base URL without a slash at its end. */
const prefixOf = (publicBaseUrl: string | undefined): string =>
  publicBaseUrl === undefined ? '' : new URL(publicBaseUrl).pathname.replace(/\/+$/, '');

/** Clients are told to open their next connection elsewhere. */
function closeConnectionsWhenDraining(server: HttpServer, draining: AbortSignal): void {
  server.addHook('onSend', async (_request, reply, payload) => {
    if (draining.aborted) void reply.header('connection', 'close');
    return payload;
  });
}
