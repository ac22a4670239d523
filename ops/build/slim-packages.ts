import type { Plugin } from 'esbuild';

/**
 * undici's `Agent` and `request` without the rest of it (fetch, WebSocket, mocks, caches), which would be evaluated at
 * every start of a pilot: a third of its start-up time. The same files of undici, wired as its index.js does; the pilot
 * always names a dispatcher.
 */
const UNDICI_CLIENT = `
  import Agent from './node_modules/undici/lib/dispatcher/agent.js';
  import Dispatcher from './node_modules/undici/lib/dispatcher/dispatcher.js';
  import callRequest from './node_modules/undici/lib/api/api-request.js';
  Dispatcher.prototype.request = callRequest;
  export { Agent };
  export function request(url, options) {
    const { origin, pathname, search } = new URL(url);
    const { dispatcher, ...rest } = options;
    return callRequest.call(dispatcher, {
      ...rest, origin, path: pathname + search, method: options.method ?? 'GET',
    });
  }
`;

/** Only @tufjs/models imports it, for path patterns; ours are matched by signing/release/metadata/path-pattern.ts. */
const NO_MINIMATCH = `
  export function minimatch() {
    throw new Error('path patterns are matched by signing/release/metadata/path-pattern.ts');
  }
`;

/** Makes esbuild bundle of some packages only what pilots use. @param root of the checkout. */
export const slimPackages = (root: string): Plugin => ({
  name: 'slim-packages',
  setup: plugin => {
    const contents: Record<string, string> = { undici: UNDICI_CLIENT, minimatch: NO_MINIMATCH };
    plugin.onResolve({ filter: /^(undici|minimatch)$/ }, ({ path }) => ({ path, namespace: 'slim' }));
    plugin.onLoad({ filter: /.*/, namespace: 'slim' }, ({ path }) => ({
      contents: contents[path]!,
      resolveDir: root,
    }));
  },
});
