import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from './ports.ts';
import { startSquid } from './squid.ts';
import type { Squid } from './squid.ts';
import type { Ending } from './temporary.ts';

export interface SiteSquid extends Squid {
  /** The store through it as forward proxy. */
  way: string;
  /** The same Squid as if it were the store. */
  accelerator: string;
  accessLog: string;
}

/** The distribution's Squid with the configuration that we ship, for a store on 127.0.0.1; gone at the end of the test. */
export async function startSiteSquid(t: Ending, store: string): Promise<SiteSquid> {
  const shipped = await readFile(new URL('../../deploy/squid/pilotage-store.conf', import.meta.url), 'utf8');
  const { hostname, port: storePort } = new URL(store);
  const acceleratorPort = await freePort();
  const squid = await startSquid(t, ({ port, directory }) =>
    shipped
      .replaceAll('store.example.org', hostname)
      .replace(/^acl pilotage_port port .*/m, `acl pilotage_port port ${storePort}`)
      .replace('vport=8090', `vport=${storePort}`)
      .replace('src 10.0.0.0/8', 'src 127.0.0.1')
      .replace('http_port 3128', `http_port 127.0.0.1:${port}`)
      .replace('http_port 8091', `http_port 127.0.0.1:${acceleratorPort}`)
      // Fewer directories, which take their time to make.
      .replace('/var/spool/squid/pilotage 20000 16 256', `${join(directory, 'kept')} 20000 4 4`)
      .replace('daemon:/var/log/squid/access.log', `stdio:${join(directory, 'access.log')}`),
  );
  return {
    ...squid,
    way: `${squid.url}>${store}`,
    accelerator: `http://127.0.0.1:${acceleratorPort}`,
    accessLog: join(squid.directory, 'access.log'),
  };
}
