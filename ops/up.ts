import { systemClock } from '../lib/clock.ts';
import { ensureDirectory } from '../lib/files.ts';
import type { Shutdown } from '../lib/shutdown.ts';
import { refresh } from '../signing/release/repository/publish.ts';
import { siteCredentials } from './site/credentials.ts';
import { siteLayout } from './site/layout.ts';
import type { Progress } from './site/progress.ts';
import { buildDirectory, publishOwnPilot, releaseContext } from './site/release.ts';
import { requireNodeTools } from './site/node-tools.ts';
import { lockSite, openSiteFile } from './site/site-file.ts';
import { startSite } from './site/start.ts';
import type { RunningSite } from './site/start.ts';

/** How often the site's own timestamp is signed again; it is good for a day. */
const REFRESH_MS = 30 * 60_000;

export interface UpSite {
  directory: string;
  instance: string;
  running: RunningSite;
  pilotVersion: string;
}

/**
 * Starts the site of a directory and keeps it running: parts that end are started again, and the online metadata is
 * signed again every half hour. What `shutdown` closes is registered with it, so a site half started is stopped as well.
 *
 * @throws E_NODE_TOOL, E_SITE_BUSY; what signing and starting the parts throws.
 */
export async function startUp(options: {
  directory: string;
  progress: Progress;
  shutdown: Shutdown;
}): Promise<UpSite> {
  const { progress, shutdown } = options;
  requireNodeTools();
  const site = siteLayout(options.directory);
  await ensureDirectory(site.root, 0o700);
  const lock = lockSite(site);
  shutdown.defer('site lock', () => lock.release());
  const { instance, ports } = await openSiteFile(site);
  await ensureDirectory(site.logs);
  const credentials = await siteCredentials({ directory: site.credentials, instance, clock: systemClock });
  const release = await progress.run("publishing this checkout's pilot", tell =>
    publishOwnPilot({ site, clock: systemClock, buildDirectory, onStep: tell }),
  );
  const at = (port: number) => `127.0.0.1:${port}`;
  const running = await startSite({
    site,
    credentials,
    release,
    instance,
    pace: {
      leaseSeconds: 180,
      heartbeatSeconds: 10,
      cycleSeconds: 5,
      idleSeconds: 120,
      listen: { store: at(ports.store), cache: at(ports.cache), server: at(ports.server) },
    },
    supervise: true,
    progress,
    onExit: (name, reason) => progress.note(`the ${name} ended (${reason}); starting it again`),
  });
  shutdown.defer('site', () => running.stop());
  const timer = setInterval(() => {
    refresh(releaseContext(site, systemClock)).catch((error: unknown) => {
      progress.note(`signing the timestamp again failed: ${(error as Error).message}`);
    });
  }, REFRESH_MS);
  shutdown.defer('refresh timer', () => clearInterval(timer));
  return { directory: site.root, instance, running, pilotVersion: release.version };
}
