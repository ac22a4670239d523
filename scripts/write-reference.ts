import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AgentConfig } from '../agent/config/schema.ts';
import { AutopilotConfig } from '../autopilot/config/schema.ts';
import { CacheServeConfig, StoreServeConfig } from '../codecache/config/schema.ts';
import { createHttpServer } from '../lib/http-server.ts';
import { silentLog } from '../lib/log.ts';
import { ServerConfig } from '../server/config/schema.ts';
import { registerRoutes } from '../server/routes/register-routes.ts';
import type { RouteOptions } from '../server/routes/register-routes.ts';
import { ReleaseConfig } from '../signing/config/schema.ts';
import { causesPage, configPage, defaultsYaml, exitCodesPage, wireErrorTable } from './reference.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

const components = [
  { folder: 'server', name: 'server', prefix: 'PILOTAGE_SERVER_', schema: ServerConfig },
  { folder: 'autopilot', name: 'autopilot', prefix: 'PILOTAGE_AUTOPILOT_', schema: AutopilotConfig },
  { folder: 'agent', name: 'agent', prefix: 'PILOTAGE_AGENT_', schema: AgentConfig },
  { folder: 'codecache', name: 'store', prefix: 'PILOTAGE_STORE_SERVE_', schema: StoreServeConfig },
  { folder: 'codecache', name: 'cache', prefix: 'PILOTAGE_CACHE_SERVE_', schema: CacheServeConfig },
  { folder: 'signing', name: 'release', prefix: 'PILOTAGE_RELEASE_', schema: ReleaseConfig },
] as const;

const BEGIN = '<!-- made by `npm run docs`: begin -->';
const END = '<!-- made by `npm run docs`: end -->';

/** The OpenAPI document of the contract, as a server serves it at /v1/openapi.json. */
export async function openApi(): Promise<object> {
  const server = createHttpServer({ program: 'docs', log: silentLog });
  await registerRoutes(server, { prefix: '' } as RouteOptions);
  await server.ready();
  const document = server.swagger();
  await server.close();
  return document;
}

/** Every generated file: path below the checkout -> text. */
export async function referenceFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  files.set('docs/reference/exit-codes.md', exitCodesPage());
  files.set('docs/reference/jobs.md', causesPage());
  files.set('docs/reference/openapi.json', JSON.stringify(await openApi(), null, 1) + '\n');
  for (const { folder, name, prefix, schema } of components) {
    files.set(`docs/reference/config-${name}.md`, configPage(folder, prefix, schema));
    files.set(`${folder}/config/${name === folder ? 'defaults' : name}.yaml`, defaultsYaml(name, schema));
  }
  const errors = await readFile(join(root, 'docs/reference/errors.md'), 'utf8');
  const [before, rest] = errors.split(BEGIN);
  const [, after] = (rest ?? '').split(END);
  files.set('docs/reference/errors.md', `${before}${BEGIN}\n\n${wireErrorTable()}\n\n${END}${after}`);
  return files;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [path, text] of await referenceFiles()) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
    process.stdout.write(`${path}\n`);
  }
}
