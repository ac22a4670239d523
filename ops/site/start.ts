import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { ensureDirectory, writeFileAtomic } from '../../lib/files.ts';
import type { ClientConfig } from '../client/session.ts';
import { startProgram } from '../program.ts';
import type { Program } from '../program.ts';
import { startSupervised } from '../supervised-program.ts';
import type { SiteCredentials } from './credentials.ts';
import type { SiteLayout } from './layout.ts';
import { silentProgress } from './progress.ts';
import type { Progress } from './progress.ts';
import type { SiteRelease } from './release.ts';

/** How a one-machine site is to behave; the demo takes it faster than `up`. */
export interface SitePace {
  leaseSeconds: number;
  heartbeatSeconds: number;
  cycleSeconds: number;
  /** A pilot without work ends after so long. */
  idleSeconds: number;
  listen: { store: string; cache: string; server: string };
}

export interface RunningSite {
  storeUrl: string;
  cacheUrl: string;
  serverUrl: string;
  client: ClientConfig;
  programs: Program[];
  /** Ends the programs in the reverse order of their start. */
  stop(): Promise<void>;
}

/** Longer than the autopilot gives its pilots to end. */
const STOP_SECONDS = 40;

export const VO = 'demo';
export const QUEUE = 'demo';
/** A queue apart for the pilot that meets the lying cache. */
export const TAMPERED_QUEUE = 'tampered';

/**
 * Starts store, cache, server and autopilot of a site, each in a process of its own, and writes `client.json`.
 *
 * @param options.progress shows each start.
 * @param options.onExit told when a program ends by itself.
 * @throws what {@link startProgram} throws; programs already started are stopped first.
 */
export async function startSite(options: {
  site: SiteLayout;
  credentials: SiteCredentials;
  release: SiteRelease;
  instance: string;
  pace: SitePace;
  /** Start a program again when it ends by itself. */
  supervise?: boolean;
  /** Starts a front (a balancer, say) before the server and gives the URL that autopilot and pilots are to use. */
  front?: (serverUrl: string) => Promise<string>;
  /** Leave out the autopilot: whoever calls starts pilots by hand. */
  withoutAutopilot?: boolean;
  progress?: Progress;
  onExit?: (name: string, reason: string) => void;
}): Promise<RunningSite> {
  const { site, credentials, release, pace } = options;
  const programs: Program[] = [];
  const stop = async () => {
    const failures: unknown[] = [];
    for (const program of programs.toReversed()) {
      await program.stop(STOP_SECONDS).catch((error: unknown) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  };
  const progress = options.progress ?? silentProgress;
  const start = (name: string, args: string[], env?: NodeJS.ProcessEnv): Promise<string> =>
    progress.run(`starting the ${name}`, async () => {
      const given = {
        name,
        args,
        logFile: join(site.logs, `${name}.log`),
        ...(env && { env: { ...process.env, ...env } }),
      };
      const program = options.supervise
        ? await startSupervised({ ...given, onRestart: reason => options.onExit?.(name, reason) })
        : await startProgram({
            ...given,
            onExit: (code, signal) => options.onExit?.(name, signal ?? `exit code ${code}`),
          });
      programs.push(program);
      return program.ready.url ?? '';
    });
  for (const directory of [site.logs, site.cache, site.server, site.autopilot, site.outputs])
    await ensureDirectory(directory);
  await ensureDirectory(site.nodeStore, 0o700);
  try {
    const storeUrl = await start('store', [
      'store',
      'serve',
      '--dir',
      release.publicDirectory,
      '--listen',
      pace.listen.store,
    ]);
    const cacheUrl = await start('cache', [
      'cache',
      'serve',
      '--upstream',
      storeUrl,
      '--dir',
      site.cache,
      '--listen',
      pace.listen.cache,
    ]);
    const serverUrl = await start('server', [
      'server',
      'run',
      '--config',
      await writeServerConfig(options, storeUrl),
    ]);
    if (!options.withoutAutopilot) {
      const frontUrl = (await options.front?.(serverUrl)) ?? serverUrl;
      const config = await writeAutopilotConfig(options, { cacheUrl, serverUrl: frontUrl });
      await start('autopilot', ['autopilot', 'run', '--drain', '--config', config], {
        PILOTAGE_STORE: site.nodeStore,
      });
    }
    const client: ClientConfig = {
      servers: [serverUrl],
      ca: credentials.caFile,
      cert: credentials.submitter.certificateFile,
      key: credentials.submitter.keyFile,
      vo: VO,
      queue: QUEUE,
      outputs: site.outputs,
    };
    await writeFileAtomic(site.clientFile, JSON.stringify(client, null, 2) + '\n');
    return { storeUrl, cacheUrl, serverUrl, client, programs, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function writeServerConfig(
  options: Parameters<typeof startSite>[0],
  storeUrl: string,
): Promise<string> {
  const { site, credentials, release, pace } = options;
  const file = join(site.server, 'server.yaml');
  const queue = (name: string, maxPilots: number) => ({
    name,
    vo: VO,
    maxPilots,
    allowContainment: ['none'],
  });
  await writeFileAtomic(
    file,
    stringify({
      listen: pace.listen.server,
      instance: options.instance,
      stateDirectory: site.server,
      tls: { certificateFile: credentials.server.certificateFile, keyFile: credentials.server.keyFile },
      trustFile: credentials.caFile,
      pilotAuthority: credentials.pilotAuthority,
      secretKeyFile: credentials.secretKeyFile,
      queues: [queue(QUEUE, maxPilots()), queue(TAMPERED_QUEUE, 1)],
      members: [
        { dn: credentials.submitter.dn, vo: VO, roles: ['submitter'] },
        { dn: credentials.autopilot.dn, vo: VO, roles: ['autopilot'] },
        { dn: credentials.shifter.dn, vo: VO, roles: ['shifter', 'admin'] },
      ],
      leaseSeconds: pace.leaseSeconds,
      pilotLeaseSeconds: pace.leaseSeconds,
      heartbeatSeconds: pace.heartbeatSeconds,
      sweepSeconds: 1,
      store: { url: storeUrl, rootFile: release.rootFile },
    }),
  );
  return file;
}

async function writeAutopilotConfig(
  options: Parameters<typeof startSite>[0],
  urls: { cacheUrl: string; serverUrl: string },
): Promise<string> {
  const { site, credentials, release, pace } = options;
  const file = join(site.autopilot, 'autopilot.yaml');
  await writeFileAtomic(
    file,
    stringify({
      engine: 'local',
      queue: QUEUE,
      servers: [urls.serverUrl],
      serverCa: credentials.caFile,
      cert: credentials.autopilot.certificateFile,
      key: credentials.autopilot.keyFile,
      caches: [urls.cacheUrl],
      root: release.rootFile,
      state: site.autopilot,
      maxPilots: maxPilots(),
      cycleSeconds: pace.cycleSeconds,
      drainSeconds: 20,
      // A waiting pilot must be heard of before its lease runs out.
      agent: { idleSeconds: pace.idleSeconds, waitSeconds: Math.min(20, pace.leaseSeconds / 3) },
    }),
  );
  return file;
}

/** Pilots that this machine runs at one time. */
export const maxPilots = (): number => Math.max(2, Math.min(8, availableParallelism()));
