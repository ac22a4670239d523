import { readFile } from 'node:fs/promises';
import { fetchRelease } from '../../../codecache/client/fetch-release.ts';
import { systemClock } from '../../../lib/clock.ts';
import type { Task } from './task.ts';

// One run of our client as a pilot has it: verify, fetch what is missing, unpack, hash every file that is started.
const task = JSON.parse(process.argv[2]!) as Task;
const { release } = await fetchRelease({
  trustedRoot: await readFile(task.rootFile),
  storeDirectory: task.directory,
  caches: [task.url],
  queue: 'bench',
  arch: task.arch,
  // So that nobody has asked a moment ago, and the caches are asked.
  clock: { ...systemClock, now: () => Date.now() + task.aheadSeconds * 1000 },
});
const { userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  JSON.stringify({ cpuSeconds: (userCPUTime + systemCPUTime) / 1e6, sha256: release.sha256 }),
);
