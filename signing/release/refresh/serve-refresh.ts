import { Counter, Gauge, Registry } from '@prometheus-io/client';
import { buildVersion } from '../../../lib/build-version.ts';
import { createHttpServer, listen, type HttpServer } from '../../../lib/http-server.ts';
import type { Logger } from '../../../lib/log.ts';
import type { RefreshDaemon, RoleWatch } from './refresh-daemon.ts';

/**
 * Serves /metrics, /livez and /readyz of a refresh daemon. It is ready while its last round succeeded and no role is under
 * its alarm threshold; else 503 with what is wrong.
 *
 * @returns the server and its base URL. @throws E_PORT_IN_USE, E_ADDRESS_UNAVAILABLE, E_USAGE.
 */
export async function serveRefresh(options: {
  daemon: RefreshDaemon;
  address: string;
  log: Logger;
}): Promise<{ server: HttpServer; url: string }> {
  const { daemon } = options;
  const server = createHttpServer({ program: 'release-refresh', log: options.log });
  const registry = refreshMetrics(daemon);
  server.addHook('onRequest', async (_request, reply) => void reply.header('cache-control', 'no-store'));
  server.get('/livez', async () => ({ live: true, program: 'release-refresh', version: buildVersion }));
  server.get('/readyz', async (_request, reply) => {
    const problems = problemsOf(daemon);
    return reply.code(problems.length === 0 ? 200 : 503).send({ ready: problems.length === 0, problems });
  });
  server.get('/metrics', async (_request, reply) =>
    reply
      .type(registry.contentType)
      .serializer(String)
      .send(await registry.metrics()),
  );
  return { server, url: await listen(server, options.address) };
}

function problemsOf(daemon: RefreshDaemon): string[] {
  const roles = Object.entries(daemon.roles());
  return [
    ...(daemon.failure === undefined ? [] : [daemon.failure]),
    ...(roles.length === 0 && daemon.failure === undefined ? ['The first round has not ended yet.'] : []),
    ...roles
      .filter(([, { alarm }]) => alarm)
      .map(([role, { version, expiresMs }]) => {
        const until = `Version ${version} of the role ${role} runs out at ${new Date(expiresMs).toISOString()}`;
        return role === 'timestamp' || role === 'snapshot'
          ? `${until}; this daemon could not sign it.`
          : `${until}: pilotage release resign ${role}, then release publish.`;
      }),
  ];
}

/** All metrics of `pilotage release refresh --daemon`; the table of docs/reference/metrics.md. */
function refreshMetrics(daemon: RefreshDaemon): Registry {
  const registry = new Registry();
  const registers = [registry];
  const ofRoles = (name: string, help: string, value: (watch: RoleWatch) => number) =>
    new Gauge({
      name,
      help,
      labelNames: ['role'],
      registers,
      collect() {
        this.reset();
        for (const [role, watch] of Object.entries(daemon.roles())) this.labels(role).set(value(watch));
      },
    });
  const plain = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  ofRoles(
    'pilotage_release_role_expires_seconds',
    'Seconds until the public signature of a role runs out; below zero when it has.',
    watch => watch.secondsLeft,
  );
  ofRoles('pilotage_release_role_version', 'Public version of a role.', watch => watch.version);
  ofRoles('pilotage_release_due', '1 when a role should be signed again, else 0.', watch =>
    Number(watch.due),
  );
  ofRoles(
    'pilotage_release_alarm',
    '1 when a role is so near its end that somebody must act now, else 0.',
    watch => Number(watch.alarm),
  );
  plain(
    'pilotage_release_last_success_timestamp_seconds',
    'Unix time of the last round that did not fail; 0 before the first.',
    () => (daemon.lastSuccessMs ?? 0) / 1000,
  );
  const rounds = new Counter({
    name: 'pilotage_release_rounds_total',
    help: 'Rounds: signed; fresh, somebody else had signed just before; failed.',
    labelNames: ['outcome'],
    registers: [],
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(daemon.rounds)) this.labels(outcome).inc(count);
    },
  });
  registry.registerMetric(rounds);
  const info = new Gauge({
    name: 'pilotage_release_info',
    help: 'Version of the program; always 1.',
    labelNames: ['version'],
    registers,
  });
  info.labels(buildVersion).set(1);
  return registry;
}
