import { existsSync } from 'node:fs';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { extract } from 'tar';
import { Updater } from 'tuf-js';
import { ChannelPointer, QueueChannels } from '../../../lib/protocol/release.ts';
import type { Task } from './task.ts';

// The same with tuf-js as it comes: its updater, its fetcher, its target cache; archives unpacked once, by tar.
const task = JSON.parse(process.argv[2]!) as Task;
const [metadataDir, targetDir] = ['metadata', 'targets'].map(name => join(task.directory, name)) as [
  string,
  string,
];
await mkdir(metadataDir, { recursive: true });
await mkdir(targetDir, { recursive: true });
if (!existsSync(join(metadataDir, 'root.json')))
  await copyFile(task.rootFile, join(metadataDir, 'root.json'));
const updater = new Updater({
  metadataDir,
  metadataBaseUrl: `${task.url}/metadata`,
  targetDir,
  targetBaseUrl: `${task.url}/targets`,
});
await updater.refresh();

/** Path of the verified target on this machine. */
async function target(path: string): Promise<string> {
  const info = await updater.getTargetInfo(path);
  if (info === undefined) throw new Error(`there is no ${path}`);
  return (await updater.findCachedTarget(info)) ?? updater.downloadTarget(info);
}

const json = async (path: string): Promise<unknown> => JSON.parse(await readFile(await target(path), 'utf8'));
const map = QueueChannels.parse(await json('queues/channels.json'));
const { current } = ChannelPointer.parse(await json(`channels/${map.default}.json`));
for (const { path, sha256 } of [current.pilot, current.runtimes[task.arch]!]) {
  const archive = await target(path);
  const unpacked = join(task.directory, 'unpacked', sha256);
  if (existsSync(unpacked)) continue;
  await mkdir(unpacked, { recursive: true });
  await extract({ file: archive, cwd: unpacked });
}
const { userCPUTime, systemCPUTime } = process.resourceUsage();
process.stdout.write(
  JSON.stringify({ cpuSeconds: (userCPUTime + systemCPUTime) / 1e6, sha256: current.pilot.sha256 }),
);
