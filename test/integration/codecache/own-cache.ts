import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import type { TestContext } from 'node:test';
import type { CacheOptions } from '../../../codecache/proxy/serve-cache.ts';

export interface OwnCache {
  url: string;
  child: ChildProcess;
  /** Its log so far. */
  log(): string;
  /** Puts its clock ahead of the real one. */
  ahead(seconds: number): Promise<void>;
  kill(): Promise<void>;
}

const SCRIPT = fileURLToPath(new URL('cache-process.ts', import.meta.url));

/** Command that runs what follows it with a file system of `size` of its own mounted on a directory. */
export function onSmallDisk(mount: string, size: string): string[] {
  const namespace = ['unshare', process.getuid?.() === 0 ? '-m' : '-rm'];
  const [command = '', flag = ''] = namespace;
  assert.equal(spawnSync(command, [flag, 'true']).status, 0, 'this machine lets nobody mount');
  return [...namespace, 'sh', '-c', `mount -t tmpfs -o size=${size} tmpfs "${mount}" && exec "$@"`, 'sh'];
}

/** Starts a cache in a process of its own. */
export async function startOwnCache(
  t: TestContext,
  options: Partial<CacheOptions> & { upstreams: string[]; directory: string },
  before: readonly string[] = [],
): Promise<OwnCache> {
  const all = {
    maxStoreBytes: 2 ** 30,
    maxObjectBytes: 2 ** 30,
    maxMetadataBytes: 2 ** 20,
    timeouts: { connectSeconds: 2, headerSeconds: 10, stallSeconds: 10, totalSeconds: 30 },
    ...options,
  };
  const [command, ...args] = [...before, process.execPath, SCRIPT, JSON.stringify(all)];
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'pipe', 'ipc'] });
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  };
  t.after(kill);
  let log = '';
  child.stderr!.on('data', chunk => (log += String(chunk)));
  const ended = once(child, 'exit').then(() => {
    throw new Error(`the cache ended: ${log}`);
  });
  const [{ url }] = (await Promise.race([once(child, 'message'), ended])) as [{ url: string }];
  ended.catch(() => undefined);
  return {
    url,
    child,
    log: () => log,
    kill,
    ahead: async seconds => {
      child.send({ aheadSeconds: seconds });
      await once(child, 'message');
    },
  };
}
