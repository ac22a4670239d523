import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { renderWrapper } from '../../../codecache/bootstrap/render-wrapper.ts';
import type { Floors } from '../../../lib/protocol/release.ts';

export interface WrapperRun {
  exit: number | null;
  stdout: string;
  stderr: string;
  /** The last line of stdout. */
  result: { code: string; exit: number; cache: string; message: string };
}

export interface WrapperBox {
  directory: string;
  child: ChildProcess;
  ended: Promise<WrapperRun>;
}

/** For the slowest machine with 64 of them at once. */
const deadlineSeconds = 150;

export interface BoxOptions {
  directory: string;
  caches: string[];
  queue?: string;
  site?: string;
  floors?: Floors | null;
}

/** Writes `bootstrap.json` as the autopilot does, with more in it than a wrapper reads. */
export async function writeBootstrap(options: BoxOptions): Promise<void> {
  await mkdir(options.directory, { recursive: true });
  const bootstrap = {
    agent: { note: 'a "quoted" word\\', list: [1, { deep: null }] },
    caches: options.caches,
    floors: options.floors ?? null,
    instance: 'test',
    queue: options.queue ?? 'Q1',
    schema: 1,
    secret: 'secret',
    serverCa: '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n',
    servers: ['https://127.0.0.1:1'],
    site: options.site ?? 'none',
    submissionId: '01ARZ3NDEKTSV4RRFFQ69G5FAV',
  };
  await writeFile(join(options.directory, 'bootstrap.json'), JSON.stringify(bootstrap), { mode: 0o600 });
}

/**
 * Starts `sh wrapper.sh` in a sandbox of its own, as a batch job would, under dash unless another shell is named.
 *
 * @param options.environment beside PATH only; PILOTAGE_STORE is set from `store`.
 */
export async function startWrapper(
  options: BoxOptions & {
    store: string;
    rootJson: Buffer;
    shell?: string;
    environment?: Record<string, string>;
    /** In a process group of its own, so that it can be killed with all it started. */
    detached?: boolean;
  },
): Promise<WrapperBox> {
  const { directory } = options;
  await writeBootstrap(options);
  await writeFile(join(directory, 'wrapper.sh'), renderWrapper({ rootJson: options.rootJson }));
  const child = spawn(options.shell ?? 'dash', ['wrapper.sh'], {
    cwd: directory,
    detached: options.detached ?? false,
    env: {
      PATH: process.env.PATH,
      PILOTAGE_STORE: options.store,
      PILOTAGE_TEST_NODE: process.execPath,
      ...options.environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { directory, child, ended: collect(child) };
}

/** As {@link startWrapper}, to its end; and as if the node had asked its caches long ago. */
export async function runWrapper(options: Parameters<typeof startWrapper>[0]): Promise<WrapperRun> {
  const metadata = resolve(options.directory, options.store, 'metadata');
  for (const pin of await readdir(metadata).catch(() => [])) {
    await rm(join(metadata, pin, 'checked'), { force: true });
  }
  return (await startWrapper(options)).ended;
}

/** What it says until its end, with the last line of stdout as result. */
export function collect(child: ChildProcess): Promise<WrapperRun> {
  return new Promise((resolve, reject) => {
    let stdout = '';
    let stderr = '';
    child.stdout!.on('data', chunk => (stdout += String(chunk)));
    child.stderr!.on('data', chunk => (stderr += String(chunk)));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`the wrapper did not end in ${deadlineSeconds} s: ${stdout}${stderr}`));
    }, deadlineSeconds * 1000);
    child.on('error', reject);
    child.on('close', exit => {
      clearTimeout(timer);
      const last = stdout.trimEnd().split('\n').at(-1) ?? '';
      if (!last.startsWith('PILOTAGE-RESULT '))
        return reject(new Error(`no result line: ${stdout}${stderr}`));
      resolve({
        exit,
        stdout,
        stderr,
        result: JSON.parse(last.slice('PILOTAGE-RESULT '.length)) as WrapperRun['result'],
      });
    });
  });
}
