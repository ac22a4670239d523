import type { FastifyRequest } from 'fastify';
import type { HttpServer } from '../../lib/http-server.ts';
import { wireError } from '../../lib/problem.ts';
import { version } from '../../lib/version.ts';
import type { Readiness } from './readiness.ts';

/**
 * /livez: the process answers. /readyz: it can dispatch now, else 503 with what it lacks. /drainz: 200 once it has been
 * told to end and no request is under way, 503 before. None needs a certificate; at the root and below the prefix.
 */
export function registerHealthRoutes(
  server: HttpServer,
  options: { prefix: string; readiness: Readiness; draining: AbortSignal; instance: string },
): void {
  const { readiness, draining, instance } = options;
  const inFlight = new Set<FastifyRequest>();
  server.addHook('onRequest', async request => {
    inFlight.add(request);
  });
  server.addHook('onResponse', async request => {
    inFlight.delete(request);
  });
  server.addHook('onRequestAbort', async request => {
    inFlight.delete(request);
  });
  for (const prefix of new Set(['', options.prefix])) {
    server.get(`${prefix}/livez`, { schema: { hide: true } }, async () => ({
      live: true,
      instance,
      version,
    }));
    server.get(`${prefix}/readyz`, { schema: { hide: true } }, async () => {
      const report = await readiness.report();
      if (report.ready) return { ...report, instance, version };
      const lacking = report.checks.filter(check => !check.ok);
      throw wireError(
        draining.aborted ? 'E_DRAINING' : 'E_NOT_READY',
        `This server cannot dispatch now: ${lacking.map(check => `${check.name} ${check.detail}`).join('; ')}.`,
        { retryAfterSeconds: 1, fix: 'Ask another server.' },
      );
    });
    server.get(`${prefix}/drainz`, { schema: { hide: true } }, async () => {
      const others = Math.max(0, inFlight.size - 1);
      if (draining.aborted && others === 0) return { drained: true, inFlight: others };
      throw wireError(
        'E_NOT_READY',
        draining.aborted ? `${others} requests are under way.` : 'Not draining.',
        {
          retryAfterSeconds: 1,
        },
      );
    });
  }
}
