import { readFile } from 'node:fs/promises';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { PilotageError } from '../../../lib/errors.ts';
import { spawnSync } from 'node:child_process';

/**
 * A node's client as a process of its own, which tests start, crowd and kill: `node node-client.ts '{...}'`. Prints one line:
 * an array with, for each fetch, what it gave or the code it was refused with.
 */
interface Task {
  rootFile: string;
  storeDirectory: string;
  caches: string[];
  /** So many fetches at once. */
  times?: number;
  /** A command to run after the first round, and then a second round. */
  afterwards?: string[];
}

const task = JSON.parse(process.argv[2] ?? '{}') as Task;
const trustedRoot = await readFile(task.rootFile);
const { storeDirectory, caches, times = 1 } = task;

const fetchOnce = async () => {
  try {
    return await fetchRelease({ trustedRoot, storeDirectory, caches, queue: 'Q1', patienceSeconds: 0 });
  } catch (error) {
    if (!(error instanceof PilotageError)) throw error;
    return { code: error.code, where: error.where };
  }
};
const round = () => Promise.all(Array.from({ length: times }, fetchOnce));

const results = await round();
const [command, ...args] = task.afterwards ?? [];
if (command !== undefined) {
  spawnSync(command, args, { stdio: 'inherit' });
  results.push(...(await round()));
}
process.stdout.write(`${JSON.stringify(results)}\n`);
