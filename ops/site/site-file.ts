import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { existsSync } from 'node:fs';
import * as z from 'zod';
import { newId } from '../../lib/ids.ts';
import { lockState, tryProcessLock } from '../../lib/process-lock.ts';
import type { ProcessLock } from '../../lib/process-lock.ts';
import { readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { opsError } from '../errors.ts';
import type { SiteLayout } from './layout.ts';

/** `site.json`: what stays the same between starts of a site. */
const SiteFile = z.object({
  instance: z.string(),
  ports: z.object({ store: z.int(), cache: z.int(), server: z.int() }),
});
export type SiteFile = z.output<typeof SiteFile>;

/** Reads a site's file, or makes one with a new instance name and three free ports. */
export async function openSiteFile(site: SiteLayout): Promise<SiteFile> {
  if (existsSync(site.siteFile)) return SiteFile.parse(JSON.parse(await readTextBounded(site.siteFile)));
  const [store, cache, server] = await freePorts(3);
  const made: SiteFile = {
    instance: `site-${newId().slice(-6).toLowerCase()}`,
    ports: { store: store!, cache: cache!, server: server! },
  };
  await writeFileAtomic(site.siteFile, JSON.stringify(made, null, 2) + '\n');
  return made;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map(server => (server.address() as AddressInfo).port);
  await Promise.all(
    servers.map(
      server =>
        new Promise(resolve => {
          server.close(resolve);
        }),
    ),
  );
  return ports;
}

/**
 * Takes the site for this process; two starts of one directory would fight over its files.
 *
 * @throws E_SITE_BUSY naming the process that has it.
 */
export function lockSite(site: SiteLayout): ProcessLock {
  const lock = tryProcessLock(site.lockFile);
  if (lock) return lock;
  const { pid } = lockState(site.lockFile);
  throw opsError({
    code: 'E_SITE_BUSY',
    message: `This site is already up${pid === null ? '' : `, in process ${pid}`}.`,
    where: site.root,
    fix: 'Use it as it is, stop that process, or give another --dir.',
  });
}
