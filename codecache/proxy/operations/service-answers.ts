import type { IncomingMessage, ServerResponse } from 'node:http';
import { buildVersion } from '../../../lib/build-version.ts';
import { sendJson } from '../../http/short-answers.ts';
import { cacheMetrics } from './cache-metrics.ts';
import type { CacheStats } from './cache-stats.ts';
import { EXPOSITION_TYPE } from './exposition.ts';

/** One thing a cache needs to be of use, and how it is. */
export interface Check {
  name: string;
  ok: boolean;
  detail: string;
}

export interface ServiceState {
  checks(): Check[];
  /** It was told to end, or to be out of service. */
  leaving(): boolean;
  /** Of all processes. */
  totals(): Promise<CacheStats>;
}

type Answer = (request: IncomingMessage, response: ServerResponse) => Promise<void> | void;

/**
 * What a cache says of itself. /livez: the process answers. /readyz: it is of use to clients, else 503 with what it lacks.
 * /drainz: 200 once it leaves and no answer is under way, 503 before. /stats, /metrics: the numbers of all its processes.
 */
export function serviceAnswers(state: ServiceState): ReadonlyMap<string, Answer> {
  return new Map<string, Answer>([
    [
      '/livez',
      (request, response) =>
        sendJson(request, response, {
          live: true,
          program: 'cache',
          pid: process.pid,
          version: buildVersion,
        }),
    ],
    [
      '/readyz',
      (request, response) => {
        const checks = state.checks();
        const ready = checks.every(({ ok }) => ok);
        if (!ready) response.setHeader('retry-after', 1);
        sendJson(request, response, { ready, checks, version: buildVersion }, ready ? 200 : 503);
      },
    ],
    [
      '/drainz',
      async (request, response) => {
        const { inFlight } = await state.totals();
        // Without the answer to this question.
        const others = Math.max(0, inFlight - 1);
        const drained = state.leaving() && others === 0;
        if (!drained) response.setHeader('retry-after', 1);
        sendJson(
          request,
          response,
          { drained, leaving: state.leaving(), inFlight: others },
          drained ? 200 : 503,
        );
      },
    ],
    ['/stats', async (request, response) => sendJson(request, response, await state.totals())],
    [
      '/metrics',
      async (request, response) => {
        const body = Buffer.from(cacheMetrics(await state.totals()));
        response.writeHead(200, {
          'content-type': EXPOSITION_TYPE,
          'content-length': body.length,
          'cache-control': 'no-store',
        });
        response.end(request.method === 'HEAD' ? undefined : body);
      },
    ],
  ]);
}
