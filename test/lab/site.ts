import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiClient } from '../../lib/api-client.ts';
import type { ApiClient } from '../../lib/api-client.ts';
import { systemClock } from '../../lib/clock.ts';
import { ensureDirectory, readTextBounded } from '../../lib/files.ts';
import { newId } from '../../lib/ids.ts';
import type { DevCredential } from '../../signing/x509/dev-authority.ts';
import { siteCredentials } from '../../ops/site/credentials.ts';
import type { SiteCredentials } from '../../ops/site/credentials.ts';
import { siteLayout } from '../../ops/site/layout.ts';
import type { SiteLayout } from '../../ops/site/layout.ts';
import { buildDirectory, publishOwnPilot } from '../../ops/site/release.ts';
import type { SiteRelease } from '../../ops/site/release.ts';
import { openSiteFile } from '../../ops/site/site-file.ts';
import { startSite } from '../../ops/site/start.ts';
import type { RunningSite, SitePace } from '../../ops/site/start.ts';

/** A whole site in a temporary directory: every part a real process, as `pilotage up` starts them. */
export interface LabSite {
  layout: SiteLayout;
  credentials: SiteCredentials;
  release: SiteRelease;
  running: RunningSite;
  client(who: 'submitter' | 'autopilot' | 'shifter'): Promise<ApiClient>;
  /** Pids of the pilots (agent processes) of this site that are alive now. */
  agentPids(): Promise<number[]>;
  /** Pid of a part, by its name. */
  pidOf(part: 'store' | 'cache' | 'server' | 'autopilot'): number;
  stop(): Promise<void>;
}

/** Starts a lab site; parts that are killed are started again, as under a supervisor. */
export async function startLabSite(
  options: {
    pace?: Partial<SitePace>;
    front?: (serverUrl: string) => Promise<string>;
    withoutAutopilot?: boolean;
  } = {},
): Promise<LabSite> {
  const layout = siteLayout(await mkdtemp(join(tmpdir(), 'pilotage-lab-site-')));
  const { ports } = await openSiteFile(layout);
  await ensureDirectory(layout.logs);
  const instance = `lab-${newId().slice(-6).toLowerCase()}`;
  const credentials = await siteCredentials({ directory: layout.credentials, instance, clock: systemClock });
  const release = await publishOwnPilot({ site: layout, clock: systemClock, buildDirectory });
  const running = await startSite({
    site: layout,
    credentials,
    release,
    instance,
    supervise: true,
    ...(options.front && { front: options.front }),
    ...(options.withoutAutopilot && { withoutAutopilot: true }),
    pace: {
      leaseSeconds: 6,
      heartbeatSeconds: 0.5,
      cycleSeconds: 0.5,
      idleSeconds: 5,
      listen: {
        store: `127.0.0.1:${ports.store}`,
        cache: `127.0.0.1:${ports.cache}`,
        server: `127.0.0.1:${ports.server}`,
      },
      ...options.pace,
    },
  });
  const clients: ApiClient[] = [];
  return {
    layout,
    credentials,
    release,
    running,
    async client(who) {
      const credential: DevCredential = credentials[who];
      const client = createApiClient({
        servers: [running.serverUrl],
        tls: {
          ca: await readTextBounded(credentials.caFile),
          cert: await readTextBounded(credential.certificateFile),
          key: await readTextBounded(credential.keyFile),
        },
      });
      clients.push(client);
      return client;
    },
    agentPids: () => processesBelow(layout.root, command => command.includes('pilot.mjs')),
    pidOf: part => running.programs.find(({ name }) => name === part)!.pid,
    async stop() {
      for (const client of clients) await client.close();
      await running.stop();
      for (const pid of await processesBelow(layout.root, () => true)) end(pid);
      await rm(layout.root, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

/** Pids of processes that work in a directory below `root` and whose command line fits. */
async function processesBelow(root: string, fits: (command: string) => boolean): Promise<number[]> {
  const pids: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const command = (await readFile(`/proc/${entry}/cmdline`, 'utf8')).replaceAll('\0', ' ');
      if (command.includes(root) && fits(command)) pids.push(Number(entry));
    } catch {
      continue; // It ended while we looked.
    }
  }
  return pids;
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return; // It is gone already.
  }
}
