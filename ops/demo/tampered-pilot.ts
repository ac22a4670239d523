import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../../lib/api-client.ts';
import { readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import type { Bootstrap } from '../../lib/protocol/release.ts';
import { renderWrapper } from '../../codecache/bootstrap/render-wrapper.ts';
import { startLyingCache } from './lying-cache.ts';

export interface TamperedOutcome {
  /** What the wrapper said at its end. */
  result: { code: string; exit: number; cache?: string; message?: string };
  exitCode: number | null;
  lyingCache: string;
  /** Whether anything of the pilot was unpacked. */
  unpacked: boolean;
  lies: number;
  seconds: number;
}

/**
 * Starts one real pilot whose only cache flips a bit in the pilot tarball, with a node store of its own so that nothing
 * verified earlier is there.
 *
 * @param options.client of an autopilot: the submission id comes from the server, and is given back afterwards.
 */
export async function runTamperedPilot(options: {
  client: ApiClient;
  queue: string;
  instance: string;
  directory: string;
  rootFile: string;
  cacheUrl: string;
  serverUrl: string;
  serverCaFile: string;
}): Promise<TamperedOutcome> {
  const started = performance.now();
  const { submissions, floors } = await options.client.call('createSubmissions', {
    params: { queue: options.queue },
    body: { factory: 'demo', count: 1, validSeconds: 600 },
  });
  const submission = submissions[0]!;
  const liar = await startLyingCache(options.cacheUrl);
  try {
    const sandbox = join(options.directory, 'sandbox');
    const store = join(options.directory, 'node-store');
    await mkdir(sandbox, { recursive: true, mode: 0o700 });
    await mkdir(store, { mode: 0o700 });
    const bootstrap: Bootstrap = {
      schema: 1,
      instance: options.instance,
      queue: options.queue,
      submissionId: submission.submissionId,
      secret: submission.secret,
      servers: [options.serverUrl],
      serverCa: await readTextBounded(options.serverCaFile),
      caches: [liar.url],
      site: 'none',
      floors,
      agent: {},
    };
    await writeFileAtomic(join(sandbox, 'bootstrap.json'), sortedJson(bootstrap), { mode: 0o600 });
    await writeFileAtomic(
      join(sandbox, 'wrapper.sh'),
      renderWrapper({ rootJson: await readTextBounded(options.rootFile) }),
    );
    const { stdout, exitCode } = await runWrapper(sandbox, store);
    return {
      result: readResult(stdout),
      exitCode,
      lyingCache: liar.url,
      unpacked: await hasPilot(store),
      lies: liar.lies.length,
      seconds: (performance.now() - started) / 1000,
    };
  } finally {
    await liar.close();
    await options.client.call('withdrawSubmissions', {
      params: { queue: options.queue },
      body: { factory: 'demo', submissionIds: [submission.submissionId] },
    });
  }
}

function runWrapper(cwd: string, store: string): Promise<{ stdout: string; exitCode: number | null }> {
  return new Promise((resolve, reject) => {
    const child = spawn('sh', ['wrapper.sh'], {
      cwd,
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', HOME: cwd, PILOTAGE_STORE: store },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    child.stdout.on('data', (chunk: Buffer) => {
      stdout = (stdout + chunk.toString('utf8')).slice(-65_536);
    });
    child.stderr.resume();
    const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
    child.once('error', reject);
    child.once('close', exitCode => {
      clearTimeout(timer);
      resolve({ stdout, exitCode });
    });
  });
}

function readResult(stdout: string): TamperedOutcome['result'] {
  const line = stdout
    .split('\n')
    .findLast(text => text.startsWith('PILOTAGE-RESULT '))
    ?.slice('PILOTAGE-RESULT '.length);
  return line === undefined ? { code: 'none', exit: -1 } : (JSON.parse(line) as TamperedOutcome['result']);
}

/** Whether any directory of unpacked files holds the pilot's code. */
async function hasPilot(store: string): Promise<boolean> {
  const unpacked = join(store, 'unpacked');
  if (!existsSync(unpacked)) return false;
  const entries = await readdir(unpacked, { recursive: true });
  return entries.some(entry => entry.endsWith('pilot.mjs'));
}

const sortedJson = (value: object): string =>
  JSON.stringify(Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))));
