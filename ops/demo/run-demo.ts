import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createApiClient } from '../../lib/api-client.ts';
import type { ApiClient } from '../../lib/api-client.ts';
import { systemClock } from '../../lib/clock.ts';
import { ensureDirectory, readTextBounded } from '../../lib/files.ts';
import { isFinal } from '../../lib/job-states.ts';
import { newId } from '../../lib/ids.ts';
import type { DevCredential } from '../../signing/x509/dev-authority.ts';
import { gotTransport } from '../client/got-transport.ts';
import { waitForJobs } from '../client/wait.ts';
import type { JobReport } from '../client/wait.ts';
import { opsError } from '../errors.ts';
import { siteCredentials } from '../site/credentials.ts';
import { siteLayout } from '../site/layout.ts';
import { requireNodeTools } from '../site/node-tools.ts';
import type { Progress } from '../site/progress.ts';
import { buildDirectory, publishOwnPilot } from '../site/release.ts';
import type { SiteRelease } from '../site/release.ts';
import { QUEUE, TAMPERED_QUEUE, VO, startSite } from '../site/start.ts';
import type { RunningSite, SitePace } from '../site/start.ts';
import { judgeJob, judgeTampered } from './judge.ts';
import type { DemoLine } from './judge.ts';
import { runTamperedPilot } from './tampered-pilot.ts';
import { makeWorkload, refusalRule } from './workload.ts';
import type { DemoJob } from './workload.ts';

export interface DemoResult {
  ok: boolean;
  lines: DemoLine[];
  release: { version: string; sha256: string };
  seconds: number;
  /** Where everything is, when it was kept. */
  directory: string | null;
}

const pace: SitePace = {
  leaseSeconds: 30,
  heartbeatSeconds: 2,
  cycleSeconds: 1,
  idleSeconds: 5,
  listen: { store: '127.0.0.1:0', cache: '127.0.0.1:0', server: '127.0.0.1:0' },
};

/**
 * The demo: a whole site on this machine in a directory of its own, a workload through it, and every line held against
 * what it must be.
 *
 * @param options.keep leaves the directory; otherwise it is removed, unless something was wrong.
 * @throws E_NODE_TOOL; E_DEMO_FAILED when jobs do not end in time; what starting the parts throws.
 */
export async function runDemo(options: {
  progress: Progress;
  keep: boolean;
  signal: AbortSignal;
  deadlineSeconds: number;
}): Promise<DemoResult> {
  requireNodeTools();
  const started = performance.now();
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-demo-'));
  const site = siteLayout(directory);
  const { progress } = options;
  const instance = `demo-${newId().slice(-6).toLowerCase()}`;
  let running: RunningSite | undefined;
  let keep = true;
  try {
    await ensureDirectory(site.logs);
    const credentials = await progress.run(
      'making a certificate authority for this machine and this run',
      () => siteCredentials({ directory: site.credentials, instance, clock: systemClock }),
    );
    const release = await progress.run("building, signing and publishing this checkout's own pilot", tell =>
      publishOwnPilot({ site, clock: systemClock, buildDirectory, onStep: tell }),
    );
    const ended: string[] = [];
    running = await startSite({
      site,
      credentials,
      release,
      instance,
      pace,
      progress,
      onExit: (name, reason) =>
        ended.push(`${name} ended by itself with ${reason}; its log is ${join(site.logs, `${name}.log`)}`),
    });
    const submitter = await openClient(running, credentials.caFile, credentials.submitter);
    const autopilot = await openClient(running, credentials.caFile, credentials.autopilot);
    try {
      const tampered = runTamperedPilot({
        client: autopilot,
        queue: TAMPERED_QUEUE,
        instance,
        directory: join(directory, 'tampered'),
        rootFile: release.rootFile,
        cacheUrl: running.cacheUrl,
        serverUrl: running.serverUrl,
        serverCaFile: credentials.caFile,
      });
      tampered.catch(() => undefined);
      const lines = await runWorkload({
        client: submitter,
        directory: join(directory, 'inputs'),
        outputs: site.outputs,
        release,
        ...options,
      });
      lines.push(judgeTampered(await tampered));
      if (ended.length > 0) throw failed(ended.join('\n'), site.logs);
      const ok = lines.every(({ wrong }) => wrong === null);
      keep = options.keep || !ok;
      const seconds = (performance.now() - started) / 1000;
      return {
        ok,
        lines,
        release: { version: release.version, sha256: release.sha256 },
        seconds,
        directory: keep ? directory : null,
      };
    } finally {
      await submitter.close();
      await autopilot.close();
    }
  } finally {
    if (running) await progress.run('stopping the site', () => running!.stop());
    if (options.signal.aborted) keep = options.keep;
    if (!keep) await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function runWorkload(options: {
  client: ApiClient;
  directory: string;
  outputs: string;
  release: SiteRelease;
  progress: Progress;
  signal: AbortSignal;
  deadlineSeconds: number;
}): Promise<DemoLine[]> {
  const { client } = options;
  const workload = await makeWorkload({
    directory: options.directory,
    vo: VO,
    queue: QUEUE,
    outputUrl: `file://${options.outputs}`,
    nodeBinary: process.execPath,
  });
  const reports = await runJobs(options, `running ${workload.first.length} jobs`, workload.first);
  const lines = await Promise.all(
    workload.first.map((job, index) => judgeJob(job, reports[index]!, options.release)),
  );
  const inside = workload.first.findIndex(({ definition }) => definition.name === 'submits-a-job');
  if (lines[inside]!.wrong === null) lines[inside]!.cause = await refusalRule(reports[inside]!);
  await assertNoJobFromInside(client, lines[inside]!);
  const parts = reports.filter(({ job }) => job.name.startsWith('sum-'));
  if (parts.some(({ job }) => job.state !== 'finished')) return lines;
  const merge = workload.merge(parts);
  const [merged] = await runJobs(options, 'merging the partial sums', [merge]);
  return [...lines, await judgeJob(merge, merged!, options.release)];
}

async function runJobs(
  options: { client: ApiClient; progress: Progress; signal: AbortSignal; deadlineSeconds: number },
  title: string,
  jobs: readonly DemoJob[],
): Promise<JobReport[]> {
  const { client, progress } = options;
  const reply = await client.call('submit', {
    body: { jobs: jobs.map(({ definition }) => ({ jobId: newId(), definition })) },
  });
  const jobIds = reply.jobs.map(({ jobId }) => jobId);
  const states = new Map<string, string>();
  const reports = await progress.run(title, tell =>
    waitForJobs(client, jobIds, {
      deadlineSeconds: options.deadlineSeconds,
      signal: options.signal,
      onChange: ({ job }) => {
        states.set(job.jobId, job.state);
        tell(countStates([...states.values()]));
      },
    }),
  );
  const late = [...reports.values()].filter(({ job }) => !isFinal(job.state));
  if (late.length > 0) {
    throw failed(
      `after ${options.deadlineSeconds} s these jobs had not ended: ${late.map(({ job }) => `${job.name} (${job.state})`).join(', ')}`,
      'the site',
    );
  }
  return jobIds.map(jobId => reports.get(jobId)!);
}

/** The refusals are only worth something when no job came of the tries. */
async function assertNoJobFromInside(client: ApiClient, line: DemoLine): Promise<void> {
  const { jobs } = await client.call('listJobs', { query: { limit: 1000 } });
  if (jobs.some(({ name }) => name === 'from-inside'))
    line.wrong = 'a job submitted from inside a payload was taken';
}

function countStates(states: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const state of states) counts.set(state, (counts.get(state) ?? 0) + 1);
  return [...counts].map(([state, count]) => `${count} ${state}`).join(', ');
}

async function openClient(
  running: RunningSite,
  caFile: string,
  credential: DevCredential,
): Promise<ApiClient> {
  const tls = {
    ca: await readTextBounded(caFile),
    cert: await readTextBounded(credential.certificateFile),
    key: await readTextBounded(credential.keyFile),
  };
  return createApiClient({ servers: [running.serverUrl], tls, transport: gotTransport(tls) });
}

const failed = (message: string, where: string) =>
  opsError({
    code: 'E_DEMO_FAILED',
    message: `The demo did not go through: ${message}`,
    where,
    fix: 'Read the logs there; the directory was kept.',
  });
