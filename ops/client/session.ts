import * as z from 'zod';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createApiClient } from '../../lib/api-client.ts';
import type { ApiClient } from '../../lib/api-client.ts';
import { PilotageError } from '../../lib/errors.ts';
import { readTextBounded } from '../../lib/files.ts';
import { opsError } from '../errors.ts';
import { gotTransport } from './got-transport.ts';

/** `client.json` of a site: where its servers are and with which credential its user comes. Paths are relative to the file. */
export const ClientConfig = z.object({
  servers: z.array(z.url()).min(1),
  ca: z.string(),
  cert: z.string(),
  key: z.string(),
  vo: z.string(),
  queue: z.string(),
  outputs: z.string().describe('Directory or URL that outputs of jobs go to by default.'),
});
export type ClientConfig = z.output<typeof ClientConfig>;

export interface Session {
  client: ApiClient;
  config: ClientConfig;
}

/** Where `pilotage up` keeps its site when it is not told otherwise, and where the client commands look for one. */
export function defaultSiteDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return (
    env.PILOTAGE_SITE ??
    join(env.XDG_STATE_HOME ?? join(env.HOME ?? homedir(), '.local', 'state'), 'pilotage', 'site')
  );
}

/**
 * Opens a client session with a site, runs `use`, and closes it.
 *
 * @throws E_SITE_MISSING when the directory holds no site.
 */
export async function withSession<T>(
  siteDirectory: string | undefined,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const file = join(resolve(siteDirectory ?? defaultSiteDirectory()), 'client.json');
  const config = ClientConfig.parse(JSON.parse(await readSite(file)));
  const read = (name: string) => readTextBounded(resolve(dirname(file), name));
  const tls = { ca: await read(config.ca), cert: await read(config.cert), key: await read(config.key) };
  const client = createApiClient({ servers: config.servers, tls, transport: gotTransport(tls) });
  try {
    return await use({ client, config });
  } finally {
    await client.close();
  }
}

async function readSite(file: string): Promise<string> {
  try {
    return await readTextBounded(file);
  } catch (error) {
    if (!(error instanceof PilotageError) || error.code !== 'E_FILE_MISSING') throw error;
    throw opsError({
      code: 'E_SITE_MISSING',
      message: 'There is no site here to talk to.',
      where: file,
      expected: 'client.json, which `pilotage up` writes',
      fix: 'Start one with `pilotage up`, or name its directory with --site DIR or PILOTAGE_SITE.',
      cause: error,
    });
  }
}
