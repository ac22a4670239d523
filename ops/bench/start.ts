import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { createApiClient } from '../../lib/api-client.ts';
import type { ApiClient } from '../../lib/api-client.ts';
import { formatError } from '../../lib/errors.ts';
import { systemClock } from '../../lib/clock.ts';
import { readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { newId } from '../../lib/ids.ts';
import { VerifiedRelease } from '../../lib/protocol/release.ts';
import { renderWrapper } from '../../codecache/bootstrap/render-wrapper.ts';
import { waitForJobs } from '../client/wait.ts';
import { siteCredentials } from '../site/credentials.ts';
import { siteLayout } from '../site/layout.ts';
import { createProgress } from '../site/progress.ts';
import { buildDirectory, publishOwnPilot } from '../site/release.ts';
import { QUEUE, VO, startSite } from '../site/start.ts';
import { table } from '../table.ts';

/**
 * `npm run bench:start [-- --json] [--rounds N]`: what a pilot costs to start. Every round runs a cold bootstrap (a node
 * that has nothing), a warm one (a node that has verified code), and one job through each pilot; medians are printed, with
 * the ratio to what we aim at.
 */
const aims = { warmSeconds: 0.5, acquireToPayloadSeconds: 0.1, agentMegabytes: 90 };

interface Bench {
  directory: string;
  submitter: ApiClient;
  autopilot: ApiClient;
  wrapper: string;
  bootstrap: { instance: string; servers: string[]; serverCa: string; caches: string[] };
}

interface Sample {
  readySeconds: number;
  /** Of these, until the wrapper had verified everything. */
  verifySeconds: number;
  acquireToPayloadSeconds: number;
  submitToPayloadSeconds: number;
  agentMegabytes: number;
}

/** One pilot from wrapper start to its end, with one job. */
async function runPilot(bench: Bench, store: string): Promise<Sample> {
  const { submissions, floors } = await bench.autopilot.call('createSubmissions', {
    params: { queue: QUEUE },
    body: { factory: 'bench', count: 1 },
  });
  const { submissionId, secret } = submissions[0]!;
  const sandbox = join(bench.directory, 'sandboxes', submissionId);
  await mkdir(sandbox, { recursive: true, mode: 0o700 });
  await mkdir(store, { recursive: true, mode: 0o700 });
  const bootstrap = {
    agent: { idleSeconds: 30, maxJobs: 1 },
    ...bench.bootstrap,
    floors,
    queue: QUEUE,
    schema: 1,
    secret,
    submissionId,
  };
  const sorted = Object.fromEntries(Object.entries(bootstrap).sort(([a], [b]) => (a < b ? -1 : 1)));
  await writeFileAtomic(join(sandbox, 'bootstrap.json'), JSON.stringify(sorted), { mode: 0o600 });
  await writeFileAtomic(join(sandbox, 'wrapper.sh'), bench.wrapper);
  const started = performance.now();
  const child = spawn('sh', ['wrapper.sh'], {
    cwd: sandbox,
    env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: sandbox, PILOTAGE_STORE: store },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = new Promise(resolve => {
    child.once('close', resolve);
  });
  try {
    const agentPid = await enrolled(child);
    const readySeconds = (performance.now() - started) / 1000;
    await systemClock.sleep(1000);
    const agentMegabytes = await residentMegabytes(agentPid);
    const { bootstrapMs } = VerifiedRelease.parse(
      JSON.parse(await readTextBounded(join(sandbox, 'verified.json'))),
    );
    const submittedMs = Date.now();
    const { jobs } = await bench.submitter.call('submit', {
      body: {
        jobs: [
          {
            jobId: newId(),
            definition: { name: 'bench', vo: VO, queue: QUEUE, command: ['date', '+%s%3N'] },
          },
        ],
      },
    });
    const jobId = jobs[0]!.jobId;
    const report = (await waitForJobs(bench.submitter, [jobId], { deadlineSeconds: 60 })).get(jobId)!;
    const log = await bench.submitter.call('jobLogs', { params: { jobId } });
    const payloadMs = Number(log.stdout.trim());
    const sentMs = report.events.find(({ to }) => to === 'sent')!.atMs;
    await ended;
    return {
      readySeconds,
      verifySeconds: bootstrapMs / 1000,
      agentMegabytes,
      acquireToPayloadSeconds: (payloadMs - sentMs) / 1000,
      submitToPayloadSeconds: (payloadMs - submittedMs) / 1000,
    };
  } finally {
    child.kill('SIGTERM');
    await ended;
  }
}

/** Waits for the agent's line that it has enrolled, and returns its pid. */
function enrolled(child: ChildProcess): Promise<number> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no pilot after 120 s:\n${said.slice(-10).join('\n')}`)),
      120_000,
    );
    createInterface({ input: child.stderr! }).on('line', line => {
      said.push(line);
      if (!line.startsWith('{')) return;
      const record = JSON.parse(line) as { pid?: number; step?: string; msg?: string };
      if (record.step !== 'enrol' || record.msg !== 'step done' || record.pid === undefined) return;
      clearTimeout(timer);
      resolve(record.pid);
    });
    child.once('exit', code => {
      clearTimeout(timer);
      reject(new Error(`the wrapper ended with ${code}:\n${said.slice(-10).join('\n')}`));
    });
  });
}

async function residentMegabytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' } },
  });
  const rounds = Number(values.rounds);
  const progress = createProgress({ quiet: values.json });
  const directory = await mkdtemp(join(tmpdir(), 'pilotage-bench-'));
  const site = siteLayout(directory);
  const instance = 'bench';
  const credentials = await siteCredentials({ directory: site.credentials, instance, clock: systemClock });
  const release = await progress.run('publishing the pilot', tell =>
    publishOwnPilot({ site, clock: systemClock, buildDirectory, onStep: tell }),
  );
  const listen = { store: '127.0.0.1:0', cache: '127.0.0.1:0', server: '127.0.0.1:0' };
  const running = await startSite({
    site,
    credentials,
    release,
    instance,
    withoutAutopilot: true,
    pace: { leaseSeconds: 60, heartbeatSeconds: 10, cycleSeconds: 1, idleSeconds: 30, listen },
  });
  const clientOf = async ({ certificateFile, keyFile }: { certificateFile: string; keyFile: string }) =>
    createApiClient({
      servers: [running.serverUrl],
      tls: {
        ca: await readTextBounded(credentials.caFile),
        cert: await readTextBounded(certificateFile),
        key: await readTextBounded(keyFile),
      },
    });
  const bench: Bench = {
    directory,
    submitter: await clientOf(credentials.submitter),
    autopilot: await clientOf(credentials.autopilot),
    wrapper: renderWrapper({ rootJson: await readTextBounded(release.rootFile) }),
    bootstrap: {
      instance,
      servers: [running.serverUrl],
      serverCa: await readTextBounded(credentials.caFile),
      caches: [running.cacheUrl],
    },
  };
  const cold: Sample[] = [];
  const warm: Sample[] = [];
  try {
    for (let round = 1; round <= rounds; round += 1) {
      const store = join(directory, `node-store-${round}`);
      const title = `round ${round} of ${rounds}: a node that has`;
      cold.push(await progress.run(`${title} nothing`, () => runPilot(bench, store)));
      warm.push(await progress.run(`${title} verified code`, () => runPilot(bench, store)));
      await rm(store, { recursive: true });
    }
  } finally {
    await bench.submitter.close();
    await bench.autopilot.close();
    await running.stop();
    await rm(directory, { recursive: true, force: true, maxRetries: 5 });
  }
  report(values.json, cold, warm);
}

function report(json: boolean, cold: readonly Sample[], warm: readonly Sample[]): void {
  const all = [...cold, ...warm];
  const measured = {
    coldSeconds: median(cold.map(sample => sample.readySeconds)),
    warmSeconds: median(warm.map(sample => sample.readySeconds)),
    warmVerifySeconds: median(warm.map(sample => sample.verifySeconds)),
    acquireToPayloadSeconds: median(all.map(sample => sample.acquireToPayloadSeconds)),
    submitToPayloadSeconds: median(all.map(sample => sample.submitToPayloadSeconds)),
    agentMegabytes: median(all.map(sample => sample.agentMegabytes)),
  };
  const ratios = {
    warmToAim: measured.warmSeconds / aims.warmSeconds,
    acquireToPayloadToAim: measured.acquireToPayloadSeconds / aims.acquireToPayloadSeconds,
    agentMemoryToAim: measured.agentMegabytes / aims.agentMegabytes,
    warmToCold: measured.warmSeconds / measured.coldSeconds,
  };
  if (json) {
    process.stdout.write(JSON.stringify({ measured, aims, ratios, rounds: cold.length }) + '\n');
    return;
  }
  const line = (what: string, value: number, unit: string, aim?: number) => [
    what,
    `${value.toFixed(3)} ${unit}`,
    aim === undefined ? '' : `${aim} ${unit}`,
    aim === undefined ? '' : (value / aim).toFixed(2),
  ];
  const rows = [
    line('bootstrap, cold: wrapper start to enrolled', measured.coldSeconds, 's'),
    line('bootstrap, warm: wrapper start to enrolled', measured.warmSeconds, 's', aims.warmSeconds),
    line('  of it until all is verified', measured.warmVerifySeconds, 's'),
    line('job sent to payload started', measured.acquireToPayloadSeconds, 's', aims.acquireToPayloadSeconds),
    line('job submitted to payload started', measured.submitToPayloadSeconds, 's'),
    line('agent, idle, resident', measured.agentMegabytes, 'MB', aims.agentMegabytes),
  ];
  process.stdout.write(
    `${table(['median of ' + cold.length + ' rounds', 'measured', 'aim', 'ratio'], rows)}\n`,
  );
}

try {
  await main();
} catch (error) {
  process.stderr.write(formatError(error) + '\n');
  process.exitCode = 1;
}
