import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { readFileBounded, readTextBounded, writeFileAtomic } from '../../lib/files.ts';
import { libError } from '../../lib/errors.ts';
import { Bootstrap } from '../../lib/protocol/release.ts';
import type { VerifiedRelease } from '../../lib/protocol/release.ts';
import { defaultTimeouts } from '../client/download.ts';
import { fetchRelease } from '../client/fetch-release.ts';
import type { FetchedRelease } from '../client/fetch-release.ts';

export interface StartOptions {
  bootstrapFile: string;
  rootFile: string;
  storeDirectory: string;
  stallSeconds: number;
  signal: AbortSignal;
}

/** Written beside where the pilot runs; the pilot reads it. */
const VERIFIED_FILE = 'verified.json';

/**
 * Verifies and installs what `bootstrap.json` names, by the TypeScript client, and leaves beside it what the wrapper
 * leaves: `root.json`, and `verified.json` in the working directory.
 *
 * @throws E_FILE_MISSING, E_CONFIG_INVALID (`bootstrap.json`), and what {@link fetchRelease} throws.
 */
export async function fetchPilot(options: StartOptions): Promise<FetchedRelease> {
  const trustedRoot = await readFileBounded(options.rootFile);
  const { caches, queue, site, floors } = await readBootstrap(options.bootstrapFile);
  const fetched = await fetchRelease({
    trustedRoot,
    storeDirectory: resolve(options.storeDirectory),
    caches,
    queue,
    site,
    floors,
    // As the wrapper: each cache once, then the batch system decides.
    patienceSeconds: 0,
    timeouts: { ...defaultTimeouts, stallSeconds: options.stallSeconds },
    signal: options.signal,
  });
  const verified: VerifiedRelease = {
    release: fetched.release,
    cache: fetched.cache,
    bootstrapMs: Math.round(performance.now()),
  };
  await writeFileAtomic(VERIFIED_FILE, JSON.stringify(verified), { mode: 0o600 });
  await writeFileAtomic(join(dirname(options.bootstrapFile), 'root.json'), trustedRoot, { mode: 0o600 });
  return fetched;
}

async function readBootstrap(file: string): Promise<Bootstrap> {
  const text = await readTextBounded(file);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = Bootstrap.safeParse(value);
  if (parsed.success) return parsed.data;
  throw libError({
    code: 'E_CONFIG_INVALID',
    message: 'The bootstrap cannot be read.',
    where: file,
    found: value === undefined ? 'no JSON' : parsed.error.issues[0]!.path.join('.'),
    expected: 'what the autopilot writes for a pilot',
    fix: 'Submit the pilot again.',
  });
}

/** Starts the pilot with the runtime that was verified with it. */
export function startPilot(
  fetched: FetchedRelease,
  options: Pick<StartOptions, 'bootstrapFile' | 'storeDirectory'>,
): ChildProcess {
  const node = join(fetched.runtimeDirectory, 'bin/node');
  const pilot = join(fetched.pilotDirectory, 'pilot.mjs');
  const args = [pilot, 'run', '--bootstrap', options.bootstrapFile, '--verified', VERIFIED_FILE];
  const env = { ...process.env, PILOTAGE_STORE: resolve(options.storeDirectory) };
  return spawn(node, args, { env, stdio: 'inherit' });
}

/** Waits for the pilot, and ends the payload that it may have left. @returns its exit code, as a shell would say it. */
export async function pilotEnd(child: ChildProcess): Promise<number> {
  const exit = await new Promise<number>(done => {
    child.on('error', () => done(127));
    child.on('exit', (code, signal) => done(code ?? 128 + constants.signals[signal!]));
  });
  const group = await readFile('payload.pgid', 'utf8').catch(() => '');
  if (/^[1-9]\d{0,9}\n?$/.test(group) && Number(group) > 1) {
    try {
      process.kill(-Number(group), 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  return exit;
}
