import type { IncomingMessage, ServerResponse } from 'node:http';
import { buildVersion } from '../../lib/build-version.ts';
import { systemClock } from '../../lib/clock.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import { objectName, publicPath } from '../http/object-name.ts';
import { startPlainServer } from '../http/plain-server.ts';
import { sendJson, sendText } from '../http/short-answers.ts';
import type { PlainServer } from '../http/plain-server.ts';
import type { ServerLimits } from '../http/request-server.ts';
import { openAccessLog } from '../http/access-log.ts';
import { cacheControl } from './cache-control.ts';
import type { ServedName } from './cache-control.ts';
import { historyPages } from './history/serve-history.ts';
import { watchStore } from './inspect-store.ts';
import { openPublicFiles } from './public-files.ts';
import type { StoreSource } from './public-files.ts';
import { sendObject } from './send-object.ts';
import { StoreMetrics } from './store-metrics.ts';
import type { RequestKind } from './store-metrics.ts';

export interface StoreServer extends PlainServer {
  /** Goes on in a new access log, after a rotation. */
  reopenLog(): void;
}

/**
 * Serves the public part of a release repository: its files with explicit Cache-Control, strong ETags, HEAD, conditional
 * requests and single ranges; /livez, /readyz, /metrics, /history. Reads only; nothing outside `metadata/`, `targets/` and the
 * event log.
 *
 * @param options.accessLog file for one line per answer; `-` for the program's own log; none without it.
 * @throws E_FILE_MISSING when there is no published repository; E_PORT_IN_USE and the like from listening.
 */
export async function serveStore(
  options: StoreSource & {
    listen: string;
    log: Logger;
    clock?: Clock;
    limits?: Partial<ServerLimits>;
    accessLog?: string | undefined;
    /** Whether there are history pages, default true. */
    history?: boolean;
  },
): Promise<StoreServer> {
  const { log, clock = systemClock } = options;
  await using opened = new AsyncDisposableStack();
  const files = await openPublicFiles(options);
  opened.defer(() => files.close());
  const report = watchStore(files, clock);
  const metrics = new StoreMetrics(clock);
  const accessLog = options.accessLog === undefined ? undefined : await openAccessLog(options.accessLog, log);
  opened.defer(() => accessLog?.close());
  const history =
    options.history === false ? undefined : historyPages({ source: sourceOf(options), files, clock, log });
  opened.defer(() => history?.close());
  const service: Readonly<Record<string, (request: IncomingMessage, response: ServerResponse) => unknown>> = {
    '/livez': (request, response) =>
      sendJson(request, response, { live: true, program: 'store', version: buildVersion }),
    '/readyz': async (request, response) => {
      const { problem, roles } = await report();
      if (problem === undefined) sendJson(request, response, { ready: true, version: buildVersion, roles });
      else sendText(request, response, 503, `Not ready: ${problem}`, 'no-store');
    },
    '/metrics': async (request, response) => {
      const body = Buffer.from(await metrics.text(await report(), server.connections()));
      response.writeHead(200, {
        'content-type': metrics.contentType,
        'content-length': body.length,
        'cache-control': 'no-store',
      });
      response.end(request.method === 'HEAD' ? undefined : body);
    },
  };
  const isHistory = (target: string) => history !== undefined && HISTORY.test(target);
  const kindOf = (target: string): RequestKind => {
    if (isHistory(target)) return 'history';
    return Object.hasOwn(service, target) ? 'service' : (servedName(target)?.kind ?? 'none');
  };

  const server = await startPlainServer({
    listen: options.listen,
    handler: async (request, response) => {
      const target = request.url ?? '';
      const name = servedName(target);
      if (isHistory(target)) await history!.answer(request, response);
      else if (Object.hasOwn(service, target)) await service[target]!(request, response);
      else if (!name || !(await sendObject(request, response, name, { files, clock }))) {
        sendText(request, response, 404, 'Not found.', cacheControl(name, 404, clock.now()));
      }
    },
    log,
    ...(options.limits && { limits: options.limits }),
    observe: answered => {
      metrics.count(kindOf(answered.target), answered);
      accessLog?.write(answered);
    },
  });
  const rest = opened.move();
  return {
    ...server,
    reopenLog: () => void accessLog?.reopen(),
    close: async graceMs => {
      await server.close(graceMs);
      await rest.disposeAsync();
    },
  };
}

const HISTORY = /^\/history(\.json)?([/?]|$)/;

const sourceOf = (options: StoreSource): StoreSource =>
  'directory' in options ? { directory: options.directory } : { repository: options.repository };

function servedName(target: string): ServedName | undefined {
  if (target === '/log.jsonl') return { kind: 'log', path: 'log.jsonl' };
  const path = publicPath(target);
  return path === undefined ? undefined : objectName(path);
}
