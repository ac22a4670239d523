import { randomUUID } from 'node:crypto';
import { readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import PQueue from 'p-queue';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';

/**
 * Nodes that take a release for the first time, each with a store of its own, as a process of its own: `node
 * rollout-nodes.ts '{...}'`. Prints one line: how many installed it, the bytes of archives that came to them, and what
 * caches gave that was refused.
 */
interface Task {
  rootFile: string;
  directory: string;
  caches: string[];
  nodes: number;
  /** So many at once. */
  atOnce: number;
}

export interface RolledOut {
  installed: number;
  bytes: number;
  refusals: unknown[];
}

const task = JSON.parse(process.argv[2] ?? '{}') as Task;
const trustedRoot = await readFile(task.rootFile);
const done: RolledOut = { installed: 0, bytes: 0, refusals: [] };

async function takeRelease(): Promise<void> {
  const storeDirectory = join(task.directory, randomUUID());
  const came = new Map<string, number>();
  const { caches } = task;
  const { runtimeDirectory, refusals } = await fetchRelease({
    trustedRoot,
    storeDirectory,
    caches,
    queue: 'Q1',
    patienceSeconds: 0,
    onProgress: ({ path, bytes }) => came.set(path, bytes),
  });
  await stat(join(runtimeDirectory, 'bin/node'));
  done.installed += 1;
  for (const bytes of came.values()) done.bytes += bytes;
  done.refusals.push(...refusals);
  await rm(storeDirectory, { recursive: true });
}

const queue = new PQueue({ concurrency: task.atOnce });
await queue.addAll(Array.from({ length: task.nodes }, () => takeRelease));
process.stdout.write(`${JSON.stringify(done)}\n`);
