import { link, lstat, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';
import { syncDirectory } from '../../../lib/files.ts';
import { openPlainFile } from './open-plain-file.ts';
import type { ProcessIdentity } from './process-identity.ts';
import { isAlive } from './process-identity.ts';

/** What the files of one sandbox say about its pilot. */
export type SandboxState =
  | { state: 'queued' }
  | { state: 'running'; identity: ProcessIdentity; startedMs: number }
  | {
      state: 'ended';
      exitCode: number | null;
      startedMs: number | null;
      endedMs: number;
      note: string;
    };

/** Content of `started` where no process has it: the pilot was cancelled, or cannot be started. */
const NEVER = 'never';

/** Creates a file whole, or not at all when the name is taken. @returns false when it is. */
export async function claimFile(path: string, content: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  await writeFile(temporary, content, { mode: 0o600, flag: 'wx', flush: true });
  try {
    await link(temporary, path);
    await syncDirectory(join(path, '..'));
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Takes the sandbox so that nothing can start it any more. @returns false when it was started before. */
export const neverStart = (directory: string, why: string): Promise<boolean> =>
  claimFile(join(directory, 'started'), `${NEVER} ${why}\n`);

const MAX_MARKER_BYTES = 4096;

/** Reads a small marker file with the time it was made; null when there is none, without text when it is no file. */
async function readMarker(path: string): Promise<{ text: string; atMs: number } | null> {
  const file = await openPlainFile(path);
  if (file === null) return null;
  if (file === 'odd') return { text: '', atMs: Math.floor((await lstat(path)).mtimeMs) };
  try {
    const { mtimeMs } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_MARKER_BYTES), 0, MAX_MARKER_BYTES, 0);
    return { text: buffer.toString('utf8', 0, bytesRead).trim(), atMs: Math.floor(mtimeMs) };
  } finally {
    await file.close();
  }
}

export async function readSandbox(directory: string, thisBootId: string): Promise<SandboxState> {
  const started = await readMarker(join(directory, 'started'));
  if (started === null) return { state: 'queued' };
  if (started.text.startsWith(NEVER)) {
    const note = `not started: ${started.text.slice(NEVER.length + 1)}`;
    return { state: 'ended', exitCode: null, startedMs: null, endedMs: started.atMs, note };
  }
  const [pid, startTicks, boot] = started.text.split(' ');
  const identity = { pid: Number(pid), startTicks: startTicks ?? '', bootId: boot ?? '' };
  const ended = await readExit(directory, started.atMs);
  if (ended !== null) return ended;
  if (isAlive(identity, thisBootId)) return { state: 'running', identity, startedMs: started.atMs };
  return (
    (await readExit(directory, started.atMs)) ?? {
      state: 'ended',
      exitCode: null,
      startedMs: started.atMs,
      endedMs: await lastTrace(directory, started.atMs),
      note:
        identity.bootId === thisBootId
          ? 'its processes are gone and left no exit code'
          : 'the machine was restarted while it ran',
    }
  );
}

async function readExit(directory: string, startedMs: number): Promise<SandboxState | null> {
  const exit = await readMarker(join(directory, 'exit'));
  if (exit === null) return null;
  const exitCode = /^\d{1,3}$/.test(exit.text) ? Number(exit.text) : null;
  return { state: 'ended', exitCode, startedMs, endedMs: exit.atMs, note: `exit code ${exit.text}` };
}

/** When a pilot without exit marker was last seen to write, as the best guess of its end. */
async function lastTrace(directory: string, startedMs: number): Promise<number> {
  const times = await Promise.all(
    ['stdout', 'stderr'].map(name =>
      stat(join(directory, name)).then(
        ({ mtimeMs }) => Math.floor(mtimeMs),
        () => startedMs,
      ),
    ),
  );
  return Math.max(startedMs, ...times);
}

export async function listNames(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).toSorted();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
